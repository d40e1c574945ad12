/**
 * A conversation with a Trunkline gateway, from a browser: microphone up, voice down, coming back after a lost network.
 * Needs no other library and no build: import it from a gateway, or copy this folder. docs/client.md
 *
 *     const client = new TrunklineClient({ tenant: "acme" });
 *     client.addEventListener("transcript", ({ detail }) => console.log(detail.role, detail.text));
 *     button.onclick = () => client.connect();
 */
import { listDevices } from "./microphone.js";
import { ConnectError, endingProblem, problem } from "./problems.js";
import { Timings } from "./timings.js";
import { WebRtcCall } from "./webrtc-call.js";
import { WebSocketCall } from "./websocket-call.js";

/** @typedef {"idle" | "starting" | "connecting" | "ready" | "reconnecting" | "closed"} Status */
/** @typedef {import("./problems.js").Problem} Problem */
/** @typedef {import("./connection.js").Connection} Connection */
/** @typedef {{type: string, [field: string]: any}} Message as in docs/websocket.md */

/**
 * @typedef {object} ClientOptions
 * @property {string} [url] of the gateway, as in "https://voice.example.com"; where this file came from when left out
 * @property {"webrtc" | "websocket"} [transport] WebRTC where the browser has it
 * @property {string} [tenant]
 * @property {string} [conversationId]
 * @property {string} [voice] of the answers, where the tenant lets clients choose
 * @property {boolean | string} [microphone] the `deviceId` of one, or true (as when left out) for the browser's choice;
 *   false to type only: silence is sent
 * @property {string} [speaker] the `deviceId` of one
 * @property {boolean} [echoCancellation] true when left out, as the next two
 * @property {boolean} [noiseSuppression]
 * @property {boolean} [autoGainControl]
 * @property {(context: AudioContext) => AudioNode} [source] a node to send instead of the microphone
 * @property {RTCIceServer[]} [iceServers] WebRTC: instead of those that the gateway names
 * @property {RTCIceTransportPolicy} [iceTransportPolicy] WebRTC: "relay" goes through TURN, or not at all
 * @property {8000 | 16000 | 24000 | 48000} [rateHz] WebSocket: of the audio on the wire; 16000 when left out
 */

/** @typedef {ClientOptions & {gateway: string, rateHz: 8000 | 16000 | 24000 | 48000, microphone: boolean | string}} Options all settled */

/**
 * What the client asks of either transport.
 * @typedef {object} Call
 * @property {() => Promise<void>} open settles when the session is ready
 * @property {() => void | Promise<void>} close
 * @property {(message: Message) => boolean} send whether it was sent
 * @property {Record<string, number>} stats
 * @property {AudioNode | null} output
 * @property {{mic: number, speaker: number}} levels
 * @property {boolean} muted
 * @property {(deviceId: string) => Promise<void>} useMicrophone
 * @property {(deviceId: string) => Promise<void>} useSpeaker
 */

/**
 * What either transport tells the client.
 * @typedef {object} Handlers
 * @property {(status: Status) => void} onstatus
 * @property {(message: Message) => void} onmessage
 * @property {(problem: Problem) => void} onproblem
 * @property {(connection: Connection) => void} onconnection
 * @property {(nothing?: undefined) => void} onrestart a token was rejected: what follows is another session
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
 * Events (all CustomEvents, the data in `detail`), the same on both transports:
 *  - `status`: a {@link Status}
 *  - `problem`: a {@link Problem}: `{code, message, hint, fatal}`, from either side
 *  - `restarted`: the session could not be resumed, what follows is another one
 *  - `connection`: a {@link Connection}: once a second over WebRTC, each time it is made over a WebSocket
 *  - `devices`: a microphone or a speaker came or went while connected
 *  - `tool_call`: a {@link ToolCall}; `tool_result`: a {@link ToolResult}
 *  - one per server message, named by its `type` (docs/websocket.md): `session_ready`, `backend`, `state`, `transcript`, ...
 */
export class TrunklineClient extends EventTarget {
  #options;
  /** @type {Status} */
  #status = "idle";
  #muted = false;
  /** @type {Call | null} */
  #call = null;
  /** @type {symbol | null} */
  #attempt = null; // the `connect` that counts
  /** @type {Promise<void>} */
  #connected = Promise.resolve(); // what that gave
  #timings = new Timings();
  /** @type {Record<string, number>} */
  #lastStats = {}; // of the call that is over
  #toldCode = ""; // of the last problem
  /** @type {Message[]} */
  #outputs = []; // of tools, while there was no way to say them
  #devicesChanged = () => this.#emit("devices", null);

  /** @param {ClientOptions} [options] */
  constructor(options = {}) {
    super();
    this.#options = options;
  }

  /** @returns {ReturnType<typeof listDevices>} what there is to choose from, as far as the browser tells */
  static devices() {
    return listDevices();
  }

  get status() {
    return this.#status;
  }

  /** How the last `connect` went, part by part, in ms. */
  get timings() {
    return this.#timings.parts;
  }

  /** What happened on the wire since `connect`: reconnects, and what the transport counts. For dashboards and tests. */
  get stats() {
    return { ...(this.#call?.stats ?? this.#lastStats) };
  }

  /** The node that everything heard passes through, for an analyser, a recorder or a test; null when not connected. */
  get output() {
    return this.#call?.output ?? null;
  }

  get muted() {
    return this.#muted;
  }

  set muted(muted) {
    this.#muted = muted;
    if (this.#call) this.#call.muted = muted;
  }

  /** @returns {{mic: number, speaker: number}} RMS levels just now, 0 to 1 */
  get levels() {
    const { mic, speaker } = this.#call?.levels ?? { mic: 0, speaker: 0 };
    return { mic: this.#muted ? 0 : mic, speaker };
  }

  /**
   * Call it from a click: browsers allow sound only then. Settles when the session is ready, or when `disconnect` came
   * first (`status` says which). While there is a conversation it begins no other, and gives what the first call gave.
   * @param {ClientOptions} [options] for this conversation, over those of the client
   * @returns {Promise<void>}
   * @throws {ConnectError} its `problem` says what happened and what to do; it is not dispatched as well
   */
  connect(options = {}) {
    if (this.#status === "idle" || this.#status === "closed") this.#connected = this.#connect(options);
    return this.#connected;
  }

  /** @param {ClientOptions} options */
  async #connect(options) {
    this.#timings = new Timings();
    this.#outputs = [];
    this.#toldCode = "";
    const attempt = (this.#attempt = Symbol("connect"));
    this.#setStatus("starting");
    if (this.#attempt !== attempt) return; // hung up by whoever was told
    const call = (this.#call = this.#newCall({ ...this.#options, ...options }, attempt));
    call.muted = this.#muted;
    navigator.mediaDevices?.addEventListener("devicechange", this.#devicesChanged);
    try {
      await call.open();
    } catch (error) {
      if (this.#attempt !== attempt) return; // hung up meanwhile
      await this.#close();
      throw error instanceof ConnectError
        ? error
        : new ConnectError(problem("browser_unsupported", true), { cause: error });
    }
  }

  /** Hang up. */
  disconnect() {
    this.#attempt = null;
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

  /**
   * Use another microphone, from now on and in later conversations; the present one stays when it cannot be opened.
   * A conversation that began without one goes on without.
   * @param {string} deviceId out of `devices()`; "" is the browser's choice
   * @throws {ConnectError}
   */
  async useMicrophone(deviceId) {
    await this.#call?.useMicrophone(deviceId);
    this.#options = { ...this.#options, microphone: deviceId || true };
  }

  /**
   * Use another speaker, from now on and in later conversations, where the browser lets a page choose.
   * @param {string} deviceId out of `devices()`; "" is the browser's choice
   * @throws {ConnectError}
   */
  async useSpeaker(deviceId) {
    await this.#call?.useSpeaker(deviceId);
    this.#options = { ...this.#options, speaker: deviceId || undefined };
  }

  /** @param {Message} message */
  #send(message) {
    return this.#call?.send(message) ?? false;
  }

  /**
   * @param {ClientOptions} options
   * @param {symbol} attempt
   */
  #newCall({ url, transport, ...options }, attempt) {
    const gateway = url ? new URL(url.replace(/\/?$/, "/")).href : new URL("../", import.meta.url).href;
    /** @type {Options} */
    const settled = { rateHz: 16000, microphone: true, ...options, gateway };
    const handlers = this.#handlers(attempt);
    return (transport ?? (globalThis.RTCPeerConnection ? "webrtc" : "websocket")) === "webrtc"
      ? new WebRtcCall(settled, handlers, this.#timings)
      : new WebSocketCall(settled, handlers, this.#timings);
  }

  /** @param {symbol} attempt what comes of an earlier one is not heard; @returns {Handlers} */
  #handlers(attempt) {
    /** @type {<T>(take: (detail: T) => void) => (detail: T) => void} */
    const now = (take) => (detail) => this.#attempt === attempt && take(detail);
    return {
      onstatus: now((status) => this.#onStatus(status)),
      onmessage: now((message) => this.#onMessage(message)),
      onproblem: now((detail) => this.#onProblem(detail)),
      onconnection: now((detail) => this.#emit("connection", detail)),
      onrestart: now(() => {
        this.#outputs = []; // the new session has not asked
        this.#emit("restarted", null);
      }),
    };
  }

  /** @param {Message} message */
  #onMessage(message) {
    this.#emit(message.type, message);
    const why = message.type === "closing" ? endingProblem(message.reason) : null;
    if (why && why.code !== this.#toldCode) this.#onProblem(why); // the worker's own words say more
  }

  /** @param {Problem} detail */
  #onProblem(detail) {
    this.#toldCode = detail.code;
    this.#emit("problem", detail);
  }

  /** @param {Status} status */
  #onStatus(status) {
    if (status === "closed") return void this.#close();
    this.#setStatus(status);
    if (status === "ready") for (const message of this.#outputs.splice(0)) this.#send(message);
  }

  async #close() {
    const call = this.#call;
    if (call) this.#lastStats = call.stats;
    this.#call = null;
    navigator.mediaDevices?.removeEventListener("devicechange", this.#devicesChanged);
    if (this.#status !== "idle") this.#setStatus("closed");
    await call?.close();
  }

  /** @param {Status} status */
  #setStatus(status) {
    if (this.#status === status) return;
    this.#status = status;
    this.#emit("status", status);
  }

  /**
   * @param {string} type
   * @param {unknown} detail
   */
  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

export { ConnectError };
