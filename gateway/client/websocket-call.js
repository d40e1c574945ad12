/** One conversation over a WebSocket, with sound. */
import { SocketAudio } from "./socket-audio.js";
import { Link } from "./websocket-link.js";

/** @typedef {import("./trunkline-client.js").Call} Call */
/** @typedef {import("./trunkline-client.js").Message} Message */
/** @typedef {import("./trunkline-client.js").Status} Status */

/** @implements {Call} */
export class WebSocketCall {
  #options;
  #handlers;
  #timings;
  /** @type {SocketAudio | null} */
  #audio = null;
  /** @type {Link | null} */
  #link = null;
  #closed = false;
  #muted = false;
  #played = { underruns: 0, overflowMs: 0 };
  /** @type {Message | null} */
  #unsaid = null; // what was heard while there was no socket to say it

  /**
   * @param {import("./trunkline-client.js").Options} options
   * @param {import("./trunkline-client.js").Handlers} handlers
   * @param {import("./timings.js").Timings} timings
   */
  constructor(options, handlers, timings) {
    this.#options = options;
    this.#handlers = handlers;
    this.#timings = timings;
  }

  async open() {
    const { onproblem } = this.#handlers;
    const { rateHz, microphone, speaker, source } = this.#options;
    const audio = await SocketAudio.open({
      rateHz,
      microphone,
      speaker,
      source,
      processing: this.#options,
      onframe: (frame) => this.#link?.sendAudio(frame),
      onplayout: (event) => this.#onPlayout(event),
      onproblem,
    });
    if (this.#closed) return void (await audio.close()); // hung up meanwhile
    this.#timings.mark("microphone");
    this.#audio = audio;
    audio.muted = this.#muted;
    this.#link = this.#newLink();
    await this.#link.open();
    const { voice } = this.#options;
    if (voice) this.send({ type: "session.update", session: { voice } });
  }

  async close() {
    this.#closed = true;
    this.#link?.close();
    await this.#audio?.close();
  }

  /** @param {Message} message; @returns {boolean} whether it was sent */
  send(message) {
    return this.#link?.send(message) ?? false;
  }

  get stats() {
    return { ...this.#link?.stats, ...this.#played };
  }

  get output() {
    return this.#audio?.output ?? null;
  }

  get levels() {
    if (!this.#audio) return { mic: 0, speaker: 0 };
    return { mic: this.#audio.level("mic"), speaker: this.#audio.level("speaker") };
  }

  get muted() {
    return this.#muted;
  }

  set muted(muted) {
    this.#muted = muted;
    if (this.#audio) this.#audio.muted = muted;
  }

  /** @param {string} deviceId */
  async useMicrophone(deviceId) {
    await this.#audio?.useMicrophone(deviceId);
  }

  /** @param {string} deviceId */
  async useSpeaker(deviceId) {
    await this.#audio?.useSpeaker(deviceId);
  }

  #newLink() {
    const { gateway, tenant, conversationId, rateHz } = this.#options;
    return new Link({
      url: socketUrl(gateway),
      tenant,
      conversationId,
      rateHz,
      onopen: () => this.#timings.mark("socket"),
      onstatus: (status) => this.#onStatus(status),
      onmessage: (message) => this.#onMessage(message),
      onaudio: (turn, offsetMs, pcm) => this.#audio?.push(turn, offsetMs, pcm),
      onproblem: this.#handlers.onproblem,
      onrestart: () => {
        this.#unsaid = null;
        this.#audio?.command("reset");
        this.#handlers.onrestart();
      },
    });
  }

  /** @param {Message} message */
  #onMessage(message) {
    if (message.type === "clear" || message.type === "pause" || message.type === "resume") {
      this.#audio?.command(message.type, message.turn);
    }
    if (message.type === "response_done") this.#audio?.command("finish", message.turn);
    this.#handlers.onmessage(message);
  }

  /** @param {import("./websocket-link.js").LinkStatus} status */
  #onStatus(status) {
    if (status === "ready") this.#timings.mark("session");
    this.#handlers.onstatus(status);
    if (status !== "ready") return;
    this.#tellConnection();
    if (this.#unsaid) this.#onPlayout(this.#unsaid);
  }

  /** A socket says nothing of its round trips and losses: TCP hides them. */
  #tellConnection() {
    const { rateHz } = this.#options;
    const unknown = { round_trip_ms: null, jitter_ms: null, buffer_ms: null, lost_down: null, lost_up: null };
    this.#handlers.onconnection({
      transport: "websocket",
      state: "connected",
      path: "websocket tcp",
      codec: `PCM ${rateHz / 1000} kHz`,
      ...unknown,
      reconnects: this.#link?.stats.reconnects ?? 0,
    });
  }

  /** @param {import("./playout.js").PlayoutEvent | Message} event */
  #onPlayout(event) {
    if (event.type === "played") this.#unsaid = this.send(event) ? null : event;
    else if (event.type === "underrun") this.#played.underruns += 1;
    else if (event.type === "overflow") this.#played.overflowMs += event.ms;
  }
}

/** @param {string} gateway */
function socketUrl(gateway) {
  const url = new URL("ws", gateway);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}
