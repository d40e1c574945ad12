/** Sound for a WebSocket: microphone -> frames, pushed audio -> speaker, and how loud both are. */
import { Awake } from "./awake.js";
import { Meter } from "./meter.js";
import { Microphone } from "./microphone.js";
import { ConnectError, problem } from "./problems.js";

/**
 * @typedef {object} SocketAudioOptions
 * @property {number} rateHz of the wire
 * @property {boolean | string} microphone the `deviceId` of one; true for the browser's choice; false sends silence
 * @property {string | undefined} speaker its `deviceId`
 * @property {import("./microphone.js").Processing} processing
 * @property {((context: AudioContext) => AudioNode) | undefined} source a node to send instead of the microphone
 * @property {(frame: Int16Array) => void} onframe 20 ms of captured audio
 * @property {(event: import("./playout.js").PlayoutEvent) => void} onplayout
 * @property {(problem: import("./problems.js").Problem) => void} onproblem
 */

/** Runs while a conversation runs. Make one with `SocketAudio.open`, from a user's click. */
export class SocketAudio {
  /** @type {AudioContext} */
  context;
  /** Everything that is heard passes through this node. @type {GainNode} */
  output;
  #options;
  /** @type {Awake | null} */
  #awake = null;
  /** @type {Microphone | null} */
  #microphone = null;
  /** @type {AudioNode | null} */
  #input = null;
  /** @type {AudioWorkletNode} */
  #capture;
  /** @type {AudioWorkletNode} */
  #playback;
  /** @type {{mic: Meter, speaker: Meter}} */
  #meters;

  /** @param {SocketAudioOptions} options; @throws {ConnectError} */
  static async open(options) {
    const audio = new SocketAudio(options);
    try {
      await audio.#open();
    } catch (error) {
      await audio.close();
      throw error;
    }
    return audio;
  }

  /** @param {SocketAudioOptions} options */
  constructor(options) {
    this.#options = options;
  }

  /** @param {boolean} muted */
  set muted(muted) {
    if (this.#microphone) this.#microphone.muted = muted;
  }

  /** @param {"mic" | "speaker"} which; @returns {number} RMS just now, 0 to 1 */
  level(which) {
    return this.#meters[which].level;
  }

  /** @param {string} deviceId "" is the browser's choice; @throws {ConnectError} */
  async useMicrophone(deviceId) {
    await this.#microphone?.use(deviceId);
  }

  /** @param {string} deviceId "" is the browser's choice; @throws {ConnectError} */
  async useSpeaker(deviceId) {
    if (!("setSinkId" in this.context)) return;
    try {
      await /** @type {any} */ (this.context).setSinkId(deviceId);
    } catch (error) {
      throw new ConnectError(problem("speaker_failed", false), { cause: error });
    }
  }

  /**
   * @param {number} turn
   * @param {number} offsetMs
   * @param {Int16Array} pcm is handed over
   */
  push(turn, offsetMs, pcm) {
    this.#playback.port.postMessage({ type: "push", turn, offsetMs, pcm }, [pcm.buffer]);
  }

  /**
   * @param {"clear" | "pause" | "resume" | "finish" | "reset"} type as in `Playout`
   * @param {number} [turn]
   */
  command(type, turn) {
    this.#playback.port.postMessage({ type, turn });
  }

  async close() {
    this.#awake?.stop();
    this.#microphone?.close();
    this.#input?.disconnect();
    for (const worklet of [this.#capture, this.#playback]) {
      if (!worklet) continue; // it did not come to that
      worklet.disconnect();
      worklet.port.onmessage = null; // a port with a listener is never forgotten, nor what it belongs to
      worklet.port.close();
    }
    this.output?.disconnect();
    if (this.context && this.context.state !== "closed") await this.context.close();
  }

  async #open() {
    const { microphone, source, speaker, processing, onproblem } = this.#options;
    // Made before anything is awaited, while the user's click still counts as permission to make sound.
    this.context = newContext(this.#options.rateHz);
    if (microphone && !source) {
      const deviceId = microphone === true ? undefined : microphone;
      this.#microphone = await Microphone.open({ deviceId, processing, onproblem });
      this.#input = await this.#microphoneNode(this.#microphone);
    } else if (source) {
      this.#input = source(this.context);
    }
    await Promise.all(
      ["./capture-worklet.js", "./playback-worklet.js"].map((file) =>
        this.context.audioWorklet.addModule(new URL(file, import.meta.url)),
      ),
    );
    this.#connect();
    if (speaker) await this.useSpeaker(speaker).catch((error) => onproblem(error.problem));
    this.#awake = new Awake(this.context, onproblem);
    this.#awake.start();
    this.#followMicrophone();
  }

  /** @param {Microphone} microphone */
  async #microphoneNode({ stream }) {
    try {
      return this.context.createMediaStreamSource(stream);
    } catch {
      // Firefox does not convert a microphone's rate: run at its rate, and let the worklets convert.
      await this.context.close();
      this.context = newContext(undefined);
      return this.context.createMediaStreamSource(stream);
    }
  }

  #connect() {
    const { context } = this;
    const processorOptions = { rateHz: this.#options.rateHz };
    this.#capture = new AudioWorkletNode(context, "trunkline-capture", {
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
      processorOptions,
    });
    this.#capture.port.onmessage = ({ data }) => this.#options.onframe(new Int16Array(data));
    this.#playback = new AudioWorkletNode(context, "trunkline-playback", {
      numberOfInputs: 0,
      outputChannelCount: [1],
      processorOptions,
    });
    this.#playback.port.onmessage = ({ data }) => this.#options.onplayout(data);
    this.output = new GainNode(context);
    this.#meters = { mic: new Meter(context), speaker: new Meter(context) };
    this.#connectInput();
    this.#playback.connect(this.output).connect(context.destination);
    this.output.connect(this.#meters.speaker.node);
  }

  #connectInput() {
    this.#input?.connect(this.#capture);
    this.#input?.connect(this.#meters.mic.node);
  }

  #followMicrophone() {
    const microphone = this.#microphone;
    if (!microphone) return;
    microphone.onchange = () => {
      this.#input?.disconnect();
      this.#input = this.context.createMediaStreamSource(microphone.stream);
      this.#connectInput();
    };
  }
}

/** @param {number | undefined} sampleRate the browser's own when left out, or when it refuses this one */
function newContext(sampleRate) {
  if (!globalThis.isSecureContext) throw new ConnectError(problem("insecure_context", true));
  if (!globalThis.AudioContext || !globalThis.AudioWorkletNode) throw new ConnectError(problem("browser_unsupported", true));
  try {
    return new AudioContext({ sampleRate, latencyHint: "interactive" });
  } catch {
    return new AudioContext({ latencyHint: "interactive" });
  }
}
