/** One RTCPeerConnection to the gateway with its data channel, from the offer until it is closed or lost. */
import { ConnectError, problem } from "./problems.js";

const LABEL = "trunkline"; // the channel's label chooses its language: docs/webrtc.md
const BATCH_MS = 30; // candidates found within this time share a request
const MOST_CANDIDATES = 20; // that the gateway takes, those of the offer included

/**
 * @typedef {object} PeerOptions
 * @property {RTCConfiguration} configuration
 * @property {MediaStreamTrack} track what is sent
 * @property {(name: "ice" | "dtls" | "channel") => void} onmark this part of connecting is done
 * @property {(message: {type: string, [field: string]: any}) => void} onmessage
 * @property {(candidates: string[]) => void} oncandidates a batch to be told to the gateway; "" is the end
 * @property {(code: "ice_failed" | "connection_failed" | "channel_closed") => void} onlost once; not after `close`
 */

export class Peer {
  #options;
  #connection;
  #channel;
  #transceiver;
  /** @type {{resolve: () => void, reject: (error: Error) => void}} */
  #opening = { resolve: () => {}, reject: () => {} };
  /** @type {string[]} found and not told yet */
  #found = [];
  #toldCount = 0;
  #mayTell = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #telling;
  #lost = false;

  /** @param {PeerOptions} options */
  constructor(options) {
    this.#options = options;
    this.#connection = new RTCPeerConnection(options.configuration);
    this.#transceiver = this.#connection.addTransceiver(options.track, { direction: "sendrecv" });
    this.#channel = this.#connection.createDataChannel(LABEL);
    /** Settles when the channel is open; rejects when there will be none. @type {Promise<void>} */
    this.opened = new Promise((resolve, reject) => (this.#opening = { resolve, reject }));
    this.opened.catch(() => {}); // whoever waits for it is told; nobody need
    this.#listen();
  }

  /** @returns {Promise<string>} SDP, with the candidates that were found by now: the others are told later */
  async offer() {
    await this.#connection.setLocalDescription();
    const sdp = this.#connection.localDescription?.sdp ?? "";
    this.#toldCount = sdp.match(/^a=candidate:/gm)?.length ?? 0;
    this.#found = this.#found.filter((candidate) => !sdp.includes(`a=${candidate}`));
    return sdp;
  }

  /** @param {string} sdp; @throws {ConnectError} */
  async accept(sdp) {
    try {
      await this.#connection.setRemoteDescription({ type: "answer", sdp });
    } catch (error) {
      throw new ConnectError(problem("connection_failed", true), { cause: error });
    }
  }

  /** The gateway knows this session: tell it the candidates. */
  trickle() {
    this.#mayTell = true;
    this.#tellSoon();
  }

  /** What the gateway sends. @returns {MediaStream} */
  get stream() {
    return new MediaStream([this.#transceiver.receiver.track]);
  }

  /** The RTP timestamp of the audio that is being heard. @returns {number | undefined} before there was any */
  get heard() {
    return this.#transceiver.receiver.getSynchronizationSources()[0]?.rtpTimestamp;
  }

  get iceState() {
    return this.#connection.iceConnectionState;
  }

  stats() {
    return this.#connection.getStats();
  }

  /** @param {MediaStreamTrack} track to send from now on */
  async sendTrack(track) {
    await this.#transceiver.sender.replaceTrack(track);
  }

  /** @param {object} message; @returns {boolean} whether it was sent */
  tell(message) {
    if (this.#channel.readyState !== "open") return false;
    this.#channel.send(JSON.stringify(message));
    return true;
  }

  close() {
    this.#lost = true;
    clearTimeout(this.#telling);
    this.#channel.onclose = this.#channel.onmessage = null;
    this.#connection.close();
    this.#opening.reject(new Error("closed before it was open"));
  }

  #listen() {
    const { onmark, onmessage } = this.#options;
    const connection = this.#connection;
    const channel = this.#channel;
    connection.onicecandidate = ({ candidate }) => this.#take(candidate);
    connection.oniceconnectionstatechange = () => {
      if (connection.iceConnectionState === "connected" || connection.iceConnectionState === "completed") onmark("ice");
      if (connection.iceConnectionState === "failed") this.#lose("ice_failed");
    };
    connection.onconnectionstatechange = () => {
      if (connection.connectionState === "connected") onmark("dtls");
      if (connection.connectionState === "failed") this.#lose(this.#connectedIce ? "connection_failed" : "ice_failed");
    };
    channel.onopen = () => {
      for (const part of /** @type {const} */ (["ice", "dtls", "channel"])) onmark(part); // whose events may come after
      this.#opening.resolve();
    };
    channel.onmessage = ({ data }) => onmessage(JSON.parse(data));
    channel.onclose = () => this.#lose("channel_closed");
  }

  get #connectedIce() {
    return this.iceState === "connected" || this.iceState === "completed";
  }

  /** @param {"ice_failed" | "connection_failed" | "channel_closed"} code */
  #lose(code) {
    if (this.#lost) return;
    this.#lost = true;
    this.#opening.reject(new ConnectError(problem(code, true)));
    this.#options.onlost(code);
  }

  /** @param {RTCIceCandidate | null} candidate null: that was the last */
  #take(candidate) {
    if (candidate?.protocol === "tcp") return; // the gateway speaks UDP
    this.#found.push(candidate ? candidate.candidate : "");
    if (this.#mayTell) this.#tellSoon();
  }

  #tellSoon() {
    this.#telling ??= setTimeout(() => {
      this.#telling = undefined;
      const batch = this.#found.splice(0).filter((candidate) => candidate === "" || (this.#toldCount += 1) <= MOST_CANDIDATES);
      if (batch.length > 0) this.#options.oncandidates(batch);
    }, BATCH_MS);
  }
}
