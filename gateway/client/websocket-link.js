/** One session over `WS /ws`, whatever number of sockets that takes: docs/websocket.md, without sound or page. */
import { closeProblem, ConnectError, problem } from "./problems.js";
import { Retries } from "./retries.js";
import { SentAudio } from "./sent-audio.js";

const ATTEMPT_MS = 4_000; // from a socket's start to `session_ready`
const FIRST_RETURN_MS = 2_000; // the same for the first try to come back: its answer may be lost, and the token is good still
const HUNG_UP = 1000;
const STALLED_BYTES = 64 * 1024; // 2 s of audio that the network does not take
const STALLED_MS = 5_000;
const TOKEN_REJECTED = 4401;

/** @typedef {import("./trunkline-client.js").Message} Message */
/** @typedef {"idle" | "connecting" | "ready" | "reconnecting" | "closed"} LinkStatus */

/**
 * @typedef {object} LinkOptions
 * @property {string} url
 * @property {number} rateHz
 * @property {string | undefined} tenant
 * @property {string | undefined} conversationId
 * @property {(status: LinkStatus) => void} onstatus
 * @property {() => void} onopen a socket is open, and `start` is being sent
 * @property {(message: {type: string, [field: string]: any}) => void} onmessage every JSON message but `audio`
 * @property {(turn: number, offsetMs: number, pcm: Int16Array) => void} onaudio
 * @property {(problem: import("./problems.js").Problem) => void} onproblem
 * @property {() => void} onrestart a token was rejected: what follows is another session
 */

export class Link {
  /** @type {LinkStatus} */
  status = "idle";
  stats = { framesSent: 0, blocksResent: 0, reconnects: 0, lostUplinkMs: 0 };

  #options;
  /** @type {WebSocket | null} */
  #socket = null;
  #sent;
  /** @type {string | null} */
  #token = null;
  #received = { turn: 0, ms: 0, seq: 0 };
  #downlink = { turn: 0, samples: 0 }; // where the next binary message belongs
  #retries = new Retries(0);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #deadline;
  #stalledSince = 0;
  /** @type {{resolve: () => void, reject: (error: ConnectError) => void} | null} */
  #opened = null; // settles `open`
  /** @type {import("./problems.js").Problem | null} */
  #fatal = null; // the server's last word, better than what a close code says
  #retryNow = () => this.#timer && this.#connect();

  /** @param {LinkOptions} options */
  constructor(options) {
    this.#options = options;
    this.#sent = new SentAudio(options.rateHz);
  }

  /** @returns {Promise<void>} settles when the session is ready; rejects with a ConnectError */
  open() {
    globalThis.addEventListener("online", this.#retryNow);
    return new Promise((resolve, reject) => {
      this.#opened = { resolve, reject };
      this.#setStatus("connecting");
      this.#connect();
    });
  }

  get #isClosed() {
    return this.status === "closed";
  }

  /** The socket, if the server hears what is sent; one that is being closed is not lost yet. */
  get #listening() {
    return this.status === "ready" && this.#socket?.readyState === WebSocket.OPEN ? this.#socket : null;
  }

  /** @param {Int16Array} frame captured audio; kept, and sent when there is a socket */
  sendAudio(frame) {
    if (this.status !== "ready" && this.status !== "reconnecting") return;
    this.#sent.push(frame);
    const socket = this.#listening;
    if (!socket) return;
    socket.send(frame);
    this.stats.framesSent += 1;
    this.#noticeStall(socket);
  }

  /**
   * @param {{type: string}} message
   * @returns {boolean} whether it was sent
   */
  send(message) {
    this.#listening?.send(JSON.stringify(message));
    return this.#listening !== null;
  }

  /** Hang up. */
  close() {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify({ type: "stop" }));
    this.#end(null);
  }

  #connect() {
    if (this.#isClosed) return; // by whoever was told the status
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#abandon();
    const socket = new WebSocket(this.#options.url);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.#options.onopen();
      socket.send(JSON.stringify(this.#startMessage()));
    };
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.#take(JSON.parse(data)) : this.#takeAudio(data));
    socket.onclose = ({ code }) => this.#lost(code);
    this.#socket = socket;
    const patience = this.#retries.count === 1 ? FIRST_RETURN_MS : ATTEMPT_MS;
    this.#deadline = setTimeout(() => this.#lost(1006), patience);
  }

  #startMessage() {
    const { tenant, conversationId, rateHz } = this.#options;
    /** @type {Message} */
    const message = { type: "start", audio: { rate_hz: rateHz, encoding: "binary" } };
    if (tenant) message.tenant = tenant;
    if (this.#token) return { ...message, resume: this.#token, received: this.#received };
    if (conversationId) message.conversation_id = conversationId;
    return message;
  }

  /** @param {Message} message */
  #take(message) {
    if (typeof message.seq === "number") this.#received.seq = message.seq;
    if (message.type === "audio") {
      this.#downlink = { turn: message.turn, samples: this.#samples(message.offset_ms) };
      if (message.delta) this.#takeAudio(Uint8Array.from(atob(message.delta), (char) => char.charCodeAt(0)).buffer);
      return;
    }
    if (message.type === "session_ready") this.#ready(message);
    if (message.type === "error") this.#takeError(message);
    else this.#options.onmessage(message);
  }

  /** @param {Message} message */
  #takeError({ code, message, hint, fatal }) {
    const detail = { code, message, hint, fatal: Boolean(fatal) };
    if (fatal) this.#fatal = detail;
    this.#options.onproblem(detail);
  }

  /** @param {ArrayBuffer} buffer */
  #takeAudio(buffer) {
    const pcm = new Int16Array(buffer);
    const { turn, samples } = this.#downlink;
    this.#downlink.samples += pcm.length;
    this.#received.turn = turn;
    this.#received.ms = Math.floor(this.#ms(this.#downlink.samples));
    this.#options.onaudio(turn, this.#ms(samples), pcm);
  }

  /** @param {Message} message */
  #ready({ resume, resumed, uplink_ms: uplinkMs }) {
    clearTimeout(this.#deadline);
    this.#token = resume;
    if (resumed) {
      this.stats.reconnects += 1;
      this.#resend(uplinkMs);
    } else {
      this.#startOver();
    }
    this.#setStatus("ready");
    this.#opened?.resolve();
    this.#opened = null;
  }

  /** @param {number} uplinkMs */
  #resend(uplinkMs) {
    const { blocks, lostMs } = this.#sent.since(uplinkMs);
    for (const block of blocks) this.#socket?.send(block);
    this.stats.blocksResent += blocks.length;
    this.stats.lostUplinkMs += lostMs;
    if (lostMs > 0) this.#options.onproblem(problem("audio_gap", false));
  }

  /** Media time and turns begin again. */
  #startOver() {
    this.#sent.restart();
    this.#received = { turn: 0, ms: 0, seq: this.#received.seq };
    this.#downlink = { turn: 0, samples: 0 };
    if (this.status === "reconnecting") {
      this.#options.onrestart();
      this.#options.onproblem(problem("resume_rejected", false));
    }
  }

  /** @param {number} code */
  #lost(code) {
    this.#abandon();
    const final = this.#fatal ?? closeProblem(code);
    if (code === HUNG_UP || final) return this.#end(final);
    if (this.status === "connecting") return this.#end(problem("unreachable", true));
    if (this.status === "ready") {
      this.#retries = new Retries(performance.now());
      this.#setStatus("reconnecting");
      if (this.#isClosed) return; // by whoever was told
    }
    if (code === TOKEN_REJECTED) this.#token = null;
    const wait = this.#retries.next(performance.now());
    if (wait === null) return this.#end(problem("connection_lost", true));
    this.#timer = setTimeout(() => this.#connect(), wait);
  }

  /** @param {WebSocket} socket */
  #noticeStall(socket) {
    if (socket.bufferedAmount < STALLED_BYTES) this.#stalledSince = 0;
    else if (this.#stalledSince === 0) this.#stalledSince = performance.now();
    else if (performance.now() - this.#stalledSince > STALLED_MS) this.#lost(1006);
  }

  /** @param {number} [code] none where this side may come back: a server that still hears it must not take it for the end */
  #abandon(code) {
    clearTimeout(this.#deadline);
    this.#stalledSince = 0;
    if (!this.#socket) return;
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close(code);
    this.#socket = null;
  }

  /** @param {import("./problems.js").Problem | null} why */
  #end(why) {
    if (this.#isClosed) return;
    clearTimeout(this.#timer);
    globalThis.removeEventListener("online", this.#retryNow);
    this.#abandon(HUNG_UP);
    const opened = this.#opened;
    this.#opened = null;
    this.#setStatus("closed");
    if (opened) opened.reject(new ConnectError(why ?? problem("unreachable", true)));
    else if (why && why !== this.#fatal) this.#options.onproblem(why);
  }

  /** @param {LinkStatus} status */
  #setStatus(status) {
    if (this.status === status || this.#isClosed) return;
    this.status = status;
    this.#options.onstatus(status);
  }

  /** @param {number} ms */
  #samples = (ms) => Math.round((ms * this.#options.rateHz) / 1000);
  /** @param {number} samples */
  #ms = (samples) => (samples * 1000) / this.#options.rateHz;
}
