/** One conversation over WebRTC, whatever number of peer connections that takes: docs/webrtc.md. */
import { Peer } from "./peer.js";
import { PeerAudio } from "./peer-audio.js";
import { ConnectError, problem } from "./problems.js";
import { Retries } from "./retries.js";
import { Refused, Signalling } from "./signalling.js";
import { Watch } from "./watch.js";

const CONFIG_MS = 4_000;
const PROBE_MS = 1_500; // is the gateway there? What is asked after that takes longer
const CALL_MS = 8_000; // a resumed session may wait 5 s for its worker
const FIRST_RETURN_MS = 2_500; // the same for the first try to come back: its answer may be lost, and the token is good still
const OPEN_MS = 10_000; // from the answer to an open channel
const REOPEN_MS = 6_000;

/** @typedef {import("./trunkline-client.js").Call} Call */
/** @typedef {import("./trunkline-client.js").Message} Message */
/** @typedef {import("./trunkline-client.js").Status} Status */

/** @implements {Call} */
export class WebRtcCall {
  #options;
  #handlers;
  #timings;
  #signalling;
  /** @type {PeerAudio | null} */
  #audio = null;
  /** @type {Peer | null} the one in use */
  #peer = null;
  /** @type {Peer | null} the one that is being made */
  #next = null;
  /** @type {{id: string, token: string} | null} */
  #session = null;
  /** @type {Status} */
  #status = "starting";
  #muted = false;
  /** @type {string | null} */
  #goodbye = null; // why the gateway ends the session
  #returning = false;
  #closed = new AbortController();
  #seq = 0;
  #reconnects = 0;
  /** @type {Watch | null} */
  #watch = null;
  #hurry = () => {};

  /**
   * @param {import("./trunkline-client.js").Options} options
   * @param {import("./trunkline-client.js").Handlers} handlers
   * @param {import("./timings.js").Timings} timings
   */
  constructor(options, handlers, timings) {
    this.#options = options;
    this.#handlers = handlers;
    this.#timings = timings;
    this.#signalling = new Signalling(options.gateway);
    globalThis.addEventListener("online", () => this.#hurry(), { signal: this.#closed.signal });
  }

  async open() {
    const config = this.#configuration(CONFIG_MS); // asked for while the microphone opens
    config.catch(() => {}); // told below, unless the microphone's trouble comes first
    const { microphone, speaker, source } = this.#options;
    const { onproblem } = this.#handlers;
    const audio = await PeerAudio.open({ microphone, speaker, source, processing: this.#options, onproblem });
    if (this.#isClosed) return audio.close(); // hung up meanwhile
    this.#audio = audio;
    audio.muted = this.#muted;
    audio.onchange = () => [this.#peer, this.#next].forEach((peer) => peer?.sendTrack(audio.track));
    this.#timings.mark("microphone");
    this.#setStatus("connecting");
    await this.#connect(await config, CALL_MS, OPEN_MS);
  }

  /** Hang up. */
  close() {
    if (this.#isClosed) return;
    if (!this.send({ type: "stop" })) this.#hangUp();
    this.#end(null);
  }

  /** No connection tells the gateway by closing. When this does not either, it waits a while, and hangs up itself. */
  #hangUp() {
    if (this.#session) this.#signalling.hangUp(this.#session.id, this.#session.token).catch(() => {});
  }

  /** @param {Message} message; @returns {boolean} whether it was sent */
  send(message) {
    return this.#status === "ready" && (this.#peer?.tell(message) ?? false);
  }

  get stats() {
    return { reconnects: this.#reconnects };
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

  // --- connecting

  get #isClosed() {
    return this.#closed.signal.aborted;
  }

  /** @param {number} ms from now; @returns {AbortSignal} that also ends when this call does */
  #within(ms) {
    return AbortSignal.any([this.#closed.signal, AbortSignal.timeout(ms)]);
  }

  /** @param {number} ms that the gateway has to answer; @returns {Promise<RTCConfiguration>} */
  async #configuration(ms) {
    const { iceServers, iceTransportPolicy } = this.#options;
    const config = await this.#signalling.config(this.#within(ms));
    return { iceServers: iceServers ?? config.ice_servers, iceTransportPolicy, bundlePolicy: "max-bundle" };
  }

  /**
   * One attempt. The peer connection in use, if any, stays until the new one is up: closing it means to hang up.
   * @param {RTCConfiguration} configuration
   * @param {number} callMs that the gateway has to answer
   * @param {number} openMs
   * @throws {ConnectError}
   */
  async #connect(configuration, callMs, openMs) {
    if (this.#isClosed) return;
    const peer = (this.#next = this.#newPeer(configuration, /** @type {PeerAudio} */ (this.#audio)));
    try {
      const offer = await peer.offer();
      this.#timings.mark("offer");
      const resumes = this.#session !== null;
      // Not given up half-way: when nobody wants it any more, only the reply says what is to be hung up.
      const reply = await this.#signalling.call({ ...this.#request(), offer }, AbortSignal.timeout(callMs));
      this.#session = { id: reply.session_id, token: reply.resume };
      if (this.#isClosed) return this.#hangUp();
      this.#timings.mark("answer");
      await peer.accept(reply.answer);
      peer.trickle();
      await before(this.#within(openMs), peer.opened);
      this.#use(peer, reply, resumes);
    } catch (error) {
      peer.close();
      throw error;
    } finally {
      this.#next = null;
    }
  }

  #request() {
    const { tenant, conversationId, voice } = this.#options;
    const request = { tenant };
    if (!this.#session) return { ...request, conversation_id: conversationId, voice };
    const heard = this.#peer?.heard;
    return { ...request, resume: this.#session.token, received: { seq: this.#seq, rtp_timestamp: heard } };
  }

  /**
   * @param {RTCConfiguration} configuration
   * @param {PeerAudio} audio
   */
  #newPeer(configuration, { track }) {
    /** @type {Peer} */
    const peer = new Peer({
      configuration,
      track,
      onmark: (name) => this.#timings.mark(name),
      onmessage: (message) => this.#onMessage(message),
      oncandidates: (candidates) => this.#trickle(peer, candidates),
      onlost: (code) => peer === this.#peer && this.#lost(code),
    });
    return peer;
  }

  /**
   * @param {Peer} peer
   * @param {string[]} candidates
   */
  async #trickle(peer, candidates) {
    if (!this.#session) return;
    const { id, token } = this.#session;
    try {
      await this.#signalling.trickle(id, token, candidates);
    } catch (error) {
      // Where these were needed, ICE fails and says so; mostly the gateway finds us by our own checks.
      if (peer === this.#next) console.warn("Trunkline: the gateway did not take our candidates:", error);
    }
  }

  /**
   * @param {Peer} peer
   * @param {import("./signalling.js").Reply} reply
   * @param {boolean} resumed
   */
  #use(peer, { session_id, conversation_id, rate_hz }, resumed) {
    const old = this.#peer;
    this.#peer = peer;
    this.#audio?.play(peer.stream);
    old?.close();
    if (resumed) this.#reconnects += 1;
    const before = this.#watch;
    before?.stop();
    this.#watch = this.#newWatch(peer);
    this.#watch.speaking = before?.speaking ?? false;
    this.#setStatus("ready"); // from here on the page may have hung up
    this.#handlers.onmessage({ type: "session_ready", session_id, conversation_id, rate_hz, resumed });
  }

  // --- while it stands

  /** @param {Message} message */
  #onMessage(message) {
    if (message.seq > this.#seq) this.#seq = message.seq;
    if (message.type === "session_ready") return; // said already, out of the answer over HTTP
    if (message.type === "state" && this.#watch) this.#watch.speaking = message.state === "speaking";
    if (message.type === "clear") this.#watch?.report();
    if (message.type === "closing" && message.reason === "restarting") return void this.#comeBack(); // served until then
    if (message.type === "closing" && message.reason === "resumed_elsewhere" && this.#returning) return; // by us
    if (message.type === "closing") this.#goodbye = message.reason;
    if (message.type === "error") return this.#onError(message);
    this.#handlers.onmessage(message);
  }

  /** @param {Message} message */
  #onError({ code, message, hint, fatal = false }) {
    if (fatal) this.#goodbye = code;
    this.#handlers.onproblem({ code, message, hint, fatal });
  }

  /** @param {Peer} peer */
  #newWatch(peer) {
    const { onconnection, onproblem } = this.#handlers;
    return new Watch(peer, {
      level: () => this.levels.speaker,
      onreading: (reading) =>
        onconnection({ transport: "webrtc", state: peer.iceState, ...reading, reconnects: this.#reconnects }),
      onheard: (rtpTimestamp) => peer.tell({ type: "played", rtp_timestamp: rtpTimestamp }),
      onmute: () => onproblem(problem("no_audio", false)),
      onlost: () => this.#lost("silent"),
    });
  }

  // --- losing it, and coming back

  /** @param {"silent" | "ice_failed" | "connection_failed" | "channel_closed"} code */
  #lost(code) {
    if (this.#isClosed || this.#status !== "ready") return;
    this.#watch?.giveUp();
    if (this.#goodbye !== null) {
      return this.#end(this.#goodbye === "resumed_elsewhere" ? problem(this.#goodbye, true) : null);
    }
    this.#setStatus("reconnecting");
    if (this.#returning) return; // sent away, and cut off before it was elsewhere
    if (code === "channel_closed") this.#handlers.onproblem(problem(code, false));
    this.#comeBack();
  }

  /** To the same session by another peer connection, here or at another gateway. */
  async #comeBack() {
    if (this.#returning) return;
    this.#returning = true;
    try {
      const why = await this.#attempts(new Retries(performance.now()));
      if (why && this.#status === "reconnecting") this.#end(why); // one that still stands is used on
    } catch (error) {
      this.#end(problem("connection_lost", true));
      throw error; // a mistake of ours
    } finally {
      this.#returning = false;
    }
  }

  /**
   * @param {Retries} retries
   * @returns {Promise<import("./problems.js").Problem | null>} why there is no connection; null: there is, or nobody wants it
   */
  async #attempts(retries) {
    let why = problem("connection_lost", true);
    for (let wait = retries.next(performance.now()); wait !== null; wait = retries.next(performance.now())) {
      await this.#pause(wait);
      if (this.#isClosed) return null;
      try {
        const callMs = retries.count === 1 ? FIRST_RETURN_MS : CALL_MS;
        await this.#connect(await this.#configuration(PROBE_MS), callMs, REOPEN_MS);
        return null;
      } catch (error) {
        if (this.#isClosed) return null;
        if (!(error instanceof ConnectError)) throw error;
        if (error instanceof Refused && !error.passing && !this.#startOver(error)) return error.problem;
        why = error.problem.code === "ice_failed" ? error.problem : problem("connection_lost", true);
      }
    }
    return why;
  }

  /** @param {Refused} refused; @returns {boolean} whether a new session may do, now that there is none to resume */
  #startOver({ status }) {
    if (!this.#session || (status !== 401 && status !== 404)) return false;
    this.#session = null;
    this.#seq = 0;
    this.#handlers.onrestart();
    this.#handlers.onproblem(problem("resume_rejected", false));
    return true;
  }

  /** @param {number} ms; less when the network comes back */
  #pause(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#hurry = () => {
        clearTimeout(timer);
        resolve(undefined);
      };
    });
  }

  /** @param {import("./problems.js").Problem | null} why */
  #end(why) {
    if (this.#isClosed) return;
    this.#closed.abort();
    this.#hurry();
    this.#watch?.stop();
    this.#peer?.close();
    this.#next?.close();
    this.#audio?.close();
    if (why) this.#handlers.onproblem(why);
    this.#setStatus("closed");
  }

  /** @param {Status} status */
  #setStatus(status) {
    this.#status = status;
    this.#handlers.onstatus(status);
  }
}

/**
 * @template T
 * @param {AbortSignal} signal
 * @param {Promise<T>} promise
 * @returns {Promise<T>} that fails when the time is up
 */
function before(signal, promise) {
  const late = new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(new ConnectError(problem("ice_failed", true))), { once: true });
  });
  return Promise.race([promise, late]);
}
