/**
 * A conversation with a Trunkline gateway, from a browser: microphone up, voice down, coming back after a lost network.
 * Needs no other library: copy this folder, or import it from a gateway.
 *
 *     const client = new TrunklineClient({ tenant: "acme" });
 *     client.addEventListener("transcript", ({ detail }) => console.log(detail.role, detail.text));
 *     button.onclick = () => client.connect();
 */
import { AudioPath } from "./audio.js";
import { Link } from "./link.js";
import { ConnectError, problem } from "./problems.js";

/**
 * @typedef {object} ClientOptions
 * @property {string} [url] of the WebSocket; `/ws` where the page came from when left out
 * @property {string} [tenant]
 * @property {string} [conversationId]
 * @property {8000 | 16000 | 24000 | 48000} [rateHz] of the audio on the wire; 16000 when left out
 */

/**
 * A model asks a tool that lives here, one of the tenant's `client_tools`: answer with `sendToolOutput`.
 * @typedef {object} ToolCall
 * @property {string} call_id
 * @property {string} tool its name
 * @property {Record<string, any>} arguments checked against the tool's schema
 */

/**
 * A tool's call is over, wherever the tool lives.
 * @typedef {object} ToolResult
 * @property {string} call_id
 * @property {string} tool
 * @property {boolean} ok
 * @property {number} ms how long it took
 */

/**
 * Events (all CustomEvents, the data in `detail`):
 *  - `status`: `"idle" | "starting" | "connecting" | "ready" | "reconnecting" | "closed"`
 *  - `problem`: `{code, message, hint, fatal}`, from either side
 *  - `restarted`: the session could not be resumed, what follows is another one
 *  - `tool_call`: a {@link ToolCall}; `tool_result`: a {@link ToolResult}
 *  - one per server message, named by its `type` (docs/websocket.md): `session_ready`, `backend`, `state`, `transcript`, ...
 */
export class TrunklineClient extends EventTarget {
  #options;
  #status = "idle";
  #muted = false;
  /** @type {AudioPath | null} */
  #audio = null;
  /** @type {Link | null} */
  #link = null;
  #played = { underruns: 0, overflowMs: 0 };
  #attempt = null; // the `connect` that counts
  #unsaid = null; // what was heard while there was no socket to say it
  #outputs = []; // of tools, the same

  /** @param {ClientOptions} [options] */
  constructor(options = {}) {
    super();
    this.#options = { url: sameOriginUrl(), rateHz: 16000, ...options };
  }

  get status() {
    return this.#status;
  }

  /** What happened on the wire since `connect`: frames, reconnects, underruns. For dashboards and tests. */
  get stats() {
    return { ...this.#link?.stats, ...this.#played };
  }

  /** The node that everything heard passes through, for an analyser, a recorder or a test; null when not connected. */
  get output() {
    return this.#audio?.output ?? null;
  }

  get muted() {
    return this.#muted;
  }

  set muted(muted) {
    this.#muted = muted;
    if (this.#audio) this.#audio.muted = muted;
  }

  /** @returns {{mic: number, speaker: number}} RMS levels just now, 0 to 1 */
  get levels() {
    if (!this.#audio?.output) return { mic: 0, speaker: 0 };
    return { mic: this.#muted ? 0 : this.#audio.level("mic"), speaker: this.#audio.level("speaker") };
  }

  /**
   * Call it from a click: browsers allow sound only then. Settles when the session is ready.
   * @param {object} [how]
   * @param {boolean} [how.microphone] false to type only: silence is sent
   * @param {(context: AudioContext) => AudioNode} [how.source] a node to send instead of the microphone
   * @throws {ConnectError} its `problem` says what happened and what to do; it is not dispatched as well
   */
  async connect({ microphone = true, source } = {}) {
    if (this.#status !== "idle" && this.#status !== "closed") return;
    this.#setStatus("starting");
    this.#played = { underruns: 0, overflowMs: 0 };
    this.#unsaid = null;
    this.#outputs = [];
    const attempt = (this.#attempt = Symbol("connect"));
    try {
      const audio = await this.#openAudio(microphone, source);
      if (this.#attempt !== attempt) return void (await audio.close()); // hung up meanwhile
      this.#audio = audio;
      audio.muted = this.#muted;
      this.#link = this.#newLink();
      await this.#link.open();
    } catch (error) {
      if (this.#attempt !== attempt) return;
      await this.#close();
      throw error instanceof ConnectError
        ? error
        : new ConnectError(problem("browser_unsupported", true), { cause: error });
    }
  }

  /** Hang up. */
  disconnect() {
    this.#attempt = null;
    this.#link?.close();
    return this.#close();
  }

  /** @param {string} text at most 4,000 characters; @returns {boolean} whether it was sent */
  sendText(text) {
    return this.#send({ type: "text", text });
  }

  /** The utterance is over: answer now. */
  commit() {
    return this.#send({ type: "input_audio_buffer.commit" });
  }

  /** Stop answering. */
  cancel() {
    return this.#send({ type: "response.cancel" });
  }

  /**
   * Answer a `tool_call`, once. What is answered while the network is away is sent when it is back.
   * @param {string} callId
   * @param {any} output for the model: a text, or anything else that JSON can say; at most 32 KiB
   */
  sendToolOutput(callId, output) {
    const message = { type: "function_call_output", call_id: callId, output: output ?? null };
    if (!this.#send(message) && this.#status === "reconnecting") this.#outputs.push(message);
  }

  /**
   * Change how a Realtime model serves this session, as far as the tenant allows clients to.
   * @param {{instructions?: string, voice?: string, speed?: number, [field: string]: any}} session
   * @returns {boolean} whether it was sent
   */
  updateSession(session) {
    return this.#send({ type: "session.update", session });
  }

  #send(message) {
    return this.#link?.send(message) ?? false;
  }

  #openAudio(microphone, source) {
    return AudioPath.open({
      rateHz: this.#options.rateHz,
      microphone,
      source,
      onframe: (frame) => this.#link?.sendAudio(frame),
      onplayout: (event) => this.#onPlayout(event),
      onproblem: (detail) => this.#emit("problem", detail),
    });
  }

  #newLink() {
    return new Link({
      ...this.#options,
      onstatus: (status) => this.#onStatus(status),
      onmessage: (message) => this.#onMessage(message),
      onaudio: (turn, offsetMs, pcm) => this.#audio?.push(turn, offsetMs, pcm),
      onproblem: (detail) => this.#emit("problem", detail),
      onrestart: () => {
        this.#unsaid = null;
        this.#outputs = []; // the new session has not asked
        this.#audio?.command("reset");
        this.#emit("restarted", null);
      },
    });
  }

  #onMessage(message) {
    if (message.type === "clear" || message.type === "pause" || message.type === "resume") {
      this.#audio?.command(message.type, message.turn);
    }
    if (message.type === "response_done") this.#audio?.command("finish", message.turn);
    this.#emit(message.type, message);
  }

  #onStatus(status) {
    if (status === "closed") return void this.#close();
    this.#setStatus(status);
    if (status !== "ready") return;
    if (this.#unsaid) this.#onPlayout(this.#unsaid);
    for (const message of this.#outputs.splice(0)) this.#send(message);
  }

  #onPlayout(event) {
    if (event.type === "played") this.#unsaid = this.#send(event) ? null : event;
    else if (event.type === "underrun") this.#played.underruns += 1;
    else if (event.type === "overflow") this.#played.overflowMs += event.ms;
  }

  async #close() {
    const audio = this.#audio;
    this.#audio = null;
    this.#setStatus("closed");
    await audio?.close();
  }

  #setStatus(status) {
    if (this.#status === status) return;
    this.#status = status;
    this.#emit("status", status);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function sameOriginUrl() {
  const url = new URL("/ws", globalThis.location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}
