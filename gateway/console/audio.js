/** The browser's sound: microphone -> frames, pushed audio -> speaker, and how loud both are. */
import { ConnectError, microphoneError, problem } from "./problems.js";

const ASKED_OF_MICROPHONE = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };

/**
 * @typedef {object} AudioOptions
 * @property {number} rateHz of the wire
 * @property {boolean} microphone false sends silence
 * @property {((context: AudioContext) => AudioNode) | undefined} source a node to send instead of the microphone
 * @property {(frame: Int16Array) => void} onframe 20 ms of captured audio
 * @property {(event: import("./playout.js").PlayoutEvent) => void} onplayout
 * @property {(problem: import("./problems.js").Problem) => void} onproblem
 */

/** Runs while a conversation runs. Make one with `AudioPath.open`, from a user's click. */
export class AudioPath {
  /** @type {AudioContext} */
  context;
  /** Everything that is heard passes through this node. @type {GainNode} */
  output;
  #options;
  #stream = null;
  #speaker;
  #analysers = {};
  #samples = new Float32Array(512);

  /** @param {AudioOptions} options */
  static async open(options) {
    const path = new AudioPath(options);
    try {
      await path.#open();
    } catch (error) {
      await path.close();
      throw error;
    }
    return path;
  }

  constructor(options) {
    this.#options = options;
  }

  /** @param {boolean} muted the microphone sends silence, and the browser shows that it is off */
  set muted(muted) {
    for (const track of this.#stream?.getAudioTracks() ?? []) track.enabled = !muted;
  }

  /** @param {"mic" | "speaker"} which; @returns {number} RMS of the last 512 samples, 0 to 1 */
  level(which) {
    this.#analysers[which].getFloatTimeDomainData(this.#samples);
    return Math.sqrt(this.#samples.reduce((sum, sample) => sum + sample * sample, 0) / this.#samples.length);
  }

  /**
   * @param {number} turn
   * @param {number} offsetMs
   * @param {Int16Array} pcm is handed over
   */
  push(turn, offsetMs, pcm) {
    this.#speaker.port.postMessage({ type: "push", turn, offsetMs, pcm }, [pcm.buffer]);
  }

  /**
   * @param {"clear" | "pause" | "resume" | "finish" | "reset"} type as in `Playout`
   * @param {number} [turn]
   */
  command(type, turn) {
    this.#speaker.port.postMessage({ type, turn });
  }

  async close() {
    for (const track of this.#stream?.getTracks() ?? []) {
      track.onended = null;
      track.stop();
    }
    if (this.context && this.context.state !== "closed") {
      this.context.onstatechange = null;
      await this.context.close();
    }
  }

  async #open() {
    const { microphone, source } = this.#options;
    // Made before anything is awaited, while the user's click still counts as permission to make sound.
    this.context = newContext(this.#options.rateHz);
    if (microphone && !source) this.#stream = await openMicrophone();
    let input = source?.(this.context) ?? null;
    if (this.#stream) input = await this.#microphoneNode();
    await Promise.all(
      ["capture-worklet.js", "playback-worklet.js"].map((file) =>
        this.context.audioWorklet.addModule(new URL(file, import.meta.url)),
      ),
    );
    this.#connect(input);
    await this.context.resume();
    this.#watch();
  }

  async #microphoneNode() {
    try {
      return this.context.createMediaStreamSource(this.#stream);
    } catch {
      // Firefox does not convert a microphone's rate: run at its rate, and let the worklets convert.
      await this.context.close();
      this.context = newContext(undefined);
      return this.context.createMediaStreamSource(this.#stream);
    }
  }

  #connect(input) {
    const { context } = this;
    const processorOptions = { rateHz: this.#options.rateHz };
    const capture = new AudioWorkletNode(context, "trunkline-capture", {
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
      processorOptions,
    });
    capture.port.onmessage = ({ data }) => this.#options.onframe(new Int16Array(data));
    this.#speaker = new AudioWorkletNode(context, "trunkline-playback", {
      numberOfInputs: 0,
      outputChannelCount: [1],
      processorOptions,
    });
    this.#speaker.port.onmessage = ({ data }) => this.#options.onplayout(data);
    this.output = new GainNode(context);
    this.#analysers = { mic: new AnalyserNode(context, { fftSize: 512 }), speaker: new AnalyserNode(context, { fftSize: 512 }) };
    input?.connect(capture);
    input?.connect(this.#analysers.mic);
    this.#speaker.connect(this.output).connect(context.destination);
    this.output.connect(this.#analysers.speaker);
  }

  #watch() {
    const { onproblem } = this.#options;
    for (const track of this.#stream?.getAudioTracks() ?? []) {
      track.onended = () => onproblem(problem("microphone_lost", false));
    }
    this.context.onstatechange = () => {
      if (this.context.state === "running" || this.context.state === "closed") return;
      onproblem(problem("audio_suspended", false));
      globalThis.addEventListener("pointerdown", () => this.context.resume(), { once: true });
    };
  }
}

function newContext(sampleRate) {
  if (!globalThis.isSecureContext) throw new ConnectError(problem("insecure_context", true));
  if (!globalThis.AudioContext || !globalThis.AudioWorkletNode) throw new ConnectError(problem("browser_unsupported", true));
  try {
    return new AudioContext({ sampleRate, latencyHint: "interactive" });
  } catch {
    return new AudioContext({ latencyHint: "interactive" });
  }
}

async function openMicrophone() {
  if (!navigator.mediaDevices) throw new ConnectError(problem("insecure_context", true));
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: ASKED_OF_MICROPHONE });
  } catch (error) {
    throw microphoneError(error);
  }
}
