/**
 * Test helper: counts what a page makes and must give back: peer connections, sound, tracks, timers, sockets. Runs before
 * the page's scripts. `ledger.open()` says what is open now.
 */
const made = { peers: [], contexts: [], tracks: [], sockets: [] };
const intervals = new Set();
const listeners = new Map(); // "type" -> how many there are on the window

const keep = (kind, Made) =>
  class extends Made {
    constructor(...given) {
      super(...given);
      made[kind].push(this);
    }
  };
globalThis.RTCPeerConnection = keep("peers", RTCPeerConnection);
globalThis.AudioContext = keep("contexts", AudioContext);
globalThis.WebSocket = keep("sockets", WebSocket);

const capture = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (constraints) => {
  const stream = await capture(constraints);
  made.tracks.push(...stream.getTracks());
  return stream;
};

const { setInterval: begin, clearInterval: end } = globalThis;
globalThis.setInterval = (...given) => {
  const id = begin(...given);
  intervals.add(id);
  return id;
};
globalThis.clearInterval = (id) => {
  intervals.delete(id);
  end(id);
};

const count = (type, by) => listeners.set(type, (listeners.get(type) ?? 0) + by);
const add = globalThis.addEventListener;
globalThis.addEventListener = function (type, listener, options) {
  if (options?.signal) {
    count(type, 1);
    options.signal.addEventListener("abort", () => count(type, -1), { once: true });
  }
  return add.call(this, type, listener, options);
};

globalThis.ledger = {
  made,
  open: () => ({
    peers: made.peers.filter(({ signalingState }) => signalingState !== "closed").length,
    contexts: made.contexts.filter(({ state }) => state !== "closed").length,
    tracks: made.tracks.filter(({ readyState }) => readyState === "live").length,
    sockets: made.sockets.filter(({ readyState }) => readyState < WebSocket.CLOSING).length,
    intervals: intervals.size,
    listeners: [...listeners.values()].reduce((sum, number) => sum + number, 0),
  }),
};
