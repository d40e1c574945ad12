/**
 * Test helper: a WebRTC client of the gateway in as few lines as it takes, without ours: what a page that was written
 * for a Realtime model does. `await call(url, label)` gives `{channel, events, connection}`.
 */
globalThis.call = async (url, label, tenant) => {
  const connection = new RTCPeerConnection();
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  stream.getTracks().forEach((track) => connection.addTrack(track, stream));
  const channel = connection.createDataChannel(label);
  const events = [];
  channel.onmessage = ({ data }) => events.push(JSON.parse(data));
  const sound = new Audio();
  connection.ontrack = ({ track }) => {
    sound.srcObject = new MediaStream([track]);
    sound.play();
  };
  await connection.setLocalDescription();
  const body = JSON.stringify({ offer: connection.localDescription.toJSON(), tenant });
  const headers = { "content-type": "application/json" };
  const reply = await (await fetch(`${url}/api/realtime/webrtc/bridge`, { method: "POST", body, headers })).json();
  await connection.setRemoteDescription({ type: "answer", sdp: reply.answer });
  await new Promise((resolve) => (channel.onopen = resolve));
  globalThis.called = { connection, channel, events, reply };
};
