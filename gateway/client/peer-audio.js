/** Sound for a WebRTC call: a track to send, an <audio> element that plays the other side, and how loud both are. */
import { Awake } from "./awake.js";
import { Meter } from "./meter.js";
import { Microphone } from "./microphone.js";
import { ConnectError, problem } from "./problems.js";

/**
 * @typedef {object} PeerAudioOptions
 * @property {boolean | string} microphone the `deviceId` of one; true for the browser's choice; false sends silence
 * @property {string | undefined} speaker its `deviceId`
 * @property {import("./microphone.js").Processing} processing
 * @property {((context: AudioContext) => AudioNode) | undefined} source a node to send instead of the microphone
 * @property {(problem: import("./problems.js").Problem) => void} onproblem
 */

/**
 * The element plays the stream itself, because there browsers cancel its echo and conceal its losses; Web Audio
 * only measures. (Chrome gives Web Audio a remote stream only while an element plays it too.)
 */
export class PeerAudio {
  /** Called when `track` has become another one. @type {() => void} */
  onchange = () => {};
  /** What is heard, for whoever wants to look at it; it leads to no speaker. @type {GainNode} */
  output;
  #options;
  #context;
  #awake;
  #element = new Audio();
  /** @type {Microphone | null} */
  #microphone = null;
  /** @type {MediaStreamTrack} what is sent without a microphone */
  #instead;
  #meters;
  /** @type {AudioNode | null} */
  #input = null;
  /** @type {AudioNode | null} */
  #heard = null;

  /** @param {PeerAudioOptions} options; @throws {ConnectError} */
  static async open(options) {
    if (!globalThis.isSecureContext) throw new ConnectError(problem("insecure_context", true));
    if (!globalThis.RTCPeerConnection) throw new ConnectError(problem("webrtc_unsupported", true));
    if (!globalThis.AudioContext) throw new ConnectError(problem("browser_unsupported", true));
    const audio = new PeerAudio(options);
    try {
      await audio.#open();
    } catch (error) {
      audio.close();
      throw error;
    }
    return audio;
  }

  /** @param {PeerAudioOptions} options */
  constructor(options) {
    this.#options = options;
    // Made before anything is awaited, while the user's click still counts as permission to make sound.
    this.#context = new AudioContext({ latencyHint: "interactive" });
    this.output = new GainNode(this.#context);
    this.#meters = { mic: new Meter(this.#context), speaker: new Meter(this.#context) };
    this.output.connect(this.#meters.speaker.node);
    this.#element.autoplay = true;
    this.#awake = new Awake(this.#context, options.onproblem, () => this.#element.play());
  }

  /** What is to be sent. */
  get track() {
    return this.#microphone?.track ?? this.#instead;
  }

  /** @param {boolean} muted */
  set muted(muted) {
    if (this.#microphone) this.#microphone.muted = muted;
  }

  /** @param {"mic" | "speaker"} which; @returns {number} RMS just now, 0 to 1 */
  level(which) {
    return this.#meters[which].level;
  }

  /** @param {MediaStream} stream to be heard from now on */
  play(stream) {
    this.#heard?.disconnect();
    this.#element.srcObject = stream;
    this.#heard = this.#context.createMediaStreamSource(stream);
    this.#heard.connect(this.output);
    this.#awake.start();
    this.#element.play().catch(({ name }) => {
      if (name !== "AbortError") this.#awake.ask(); // that one says: another stream came, or it was closed
    });
  }

  /** @param {string} deviceId "" is the browser's choice; @throws {ConnectError} */
  async useMicrophone(deviceId) {
    await this.#microphone?.use(deviceId);
  }

  /** @param {string} deviceId "" is the browser's choice; @throws {ConnectError} */
  async useSpeaker(deviceId) {
    if (!("setSinkId" in this.#element)) return;
    try {
      await this.#element.setSinkId(deviceId);
    } catch (error) {
      throw new ConnectError(problem("speaker_failed", false), { cause: error });
    }
  }

  close() {
    this.#awake.stop();
    this.#microphone?.close();
    this.#instead?.stop();
    this.#element.srcObject = null;
    if (this.#context.state !== "closed") this.#context.close();
  }

  async #open() {
    const { microphone, source, speaker, processing, onproblem } = this.#options;
    if (microphone && !source) {
      const deviceId = microphone === true ? undefined : microphone;
      const opened = (this.#microphone = await Microphone.open({ deviceId, processing, onproblem }));
      opened.onchange = () => {
        this.#measure(opened);
        this.onchange();
      };
      this.#measure(opened);
    } else {
      const sink = new MediaStreamAudioDestinationNode(this.#context, { channelCount: 1 });
      this.#input = source?.(this.#context) ?? silence(this.#context);
      this.#input.connect(sink);
      this.#input.connect(this.#meters.mic.node);
      [this.#instead] = sink.stream.getAudioTracks();
    }
    if (speaker) await this.useSpeaker(speaker).catch((error) => onproblem(error.problem));
  }

  /** @param {Microphone} microphone */
  #measure(microphone) {
    this.#input?.disconnect();
    this.#input = this.#context.createMediaStreamSource(microphone.stream);
    this.#input.connect(this.#meters.mic.node);
  }
}

/** @param {AudioContext} context; @returns {AudioNode} without which browsers send nothing, and a gateway hangs up */
function silence(context) {
  const node = new ConstantSourceNode(context, { offset: 0 });
  node.start();
  return node;
}
