/**
 * Test helper: records what the microphone gives the page and what the page really renders, side by side and sample by
 * sample, and what the client said when. Needs nothing that the page's policy forbids. Runs before the page's scripts.
 */
const createSource = AudioContext.prototype.createMediaStreamSource;
AudioContext.prototype.createMediaStreamSource = function (stream) {
  return (globalThis.heard.microphone = createSource.call(this, stream));
};

const EVENTS = `status session_ready backend state speech_started speech_stopped transcript_delta transcript clear pause
  resume response_done latency closing problem restarted`.split(/\s+/);

globalThis.heard = {
  rateHz: 0,
  count: 0, // samples recorded
  events: [], // {at: samples recorded by then, ms: since the page began, type, detail}
  chunks: [[], []],
  microphone: null,
  context: null,
  beganS: 0, // on the context's clock

  /** Call it once the page has its client. */
  begin() {
    for (const type of EVENTS) {
      trunkline.addEventListener(type, ({ detail }) => {
        if (type === "status" && detail === "connecting") this.record(trunkline.output);
        this.events.push({ at: this.count, ms: performance.now(), type, detail });
      });
    }
  },

  async record(output) {
    const { context } = output;
    this.context = context;
    this.beganS = context.currentTime;
    this.rateHz = context.sampleRate;
    const both = new ChannelMergerNode(context, { numberOfInputs: 2 });
    this.microphone?.connect(both, 0, 0);
    output.connect(both, 0, 1);
    const sink = new MediaStreamAudioDestinationNode(context, { channelCount: 2 });
    both.connect(sink);
    const [track] = sink.stream.getAudioTracks();
    const reader = new MediaStreamTrackProcessor({ track, maxBufferSize: 1000 }).readable.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      for (const planeIndex of [0, 1]) {
        const samples = new Float32Array(value.numberOfFrames);
        if (planeIndex < value.numberOfChannels) value.copyTo(samples, { planeIndex, format: "f32-planar" });
        this.chunks[planeIndex].push(samples);
      }
      this.count += value.numberOfFrames;
      value.close();
    }
  },

  /** Resolves when all that has sounded by now is recorded: a busy page reads its recording late. */
  async caughtUp() {
    const until = (this.context.currentTime + 0.1 - this.beganS) * this.rateHz;
    const begun = 0.05 * this.rateHz; // the recording begins this much after `beganS` at most
    while (this.count < until - begun) await new Promise((resolve) => setTimeout(resolve, 10));
  },

  /** @returns {string[]} what was recorded, microphone and output: 16-bit samples, base64 */
  samples() {
    return this.chunks.map((chunks) => {
      const all = new Int16Array(this.count);
      let filled = 0;
      for (const chunk of chunks) {
        for (const sample of chunk) all[filled++] = Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));
      }
      const bytes = new Uint8Array(all.buffer);
      let text = "";
      for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
      return btoa(text);
    });
  },
};
