/** The user's microphone: opened, muted, exchanged for another, and missed when it is unplugged. */
import { ConnectError, microphoneError, problem } from "./problems.js";

/**
 * @typedef {object} Processing what the browser does to the sound before anybody hears it; all of it unless told otherwise
 * @property {boolean} [echoCancellation]
 * @property {boolean} [noiseSuppression]
 * @property {boolean} [autoGainControl]
 */

/**
 * @typedef {object} MicrophoneOptions
 * @property {string | undefined} deviceId of the one to use; the browser's choice when left out, or when it is gone
 * @property {Processing} processing
 * @property {(problem: import("./problems.js").Problem) => void} onproblem
 */

/** Make one with `Microphone.open`. */
export class Microphone {
  /** @type {MediaStream} */
  stream;
  /** Called when `stream` has become another one. @type {() => void} */
  onchange = () => {};
  #options;
  #muted = false;
  #closed = false;
  #missing = false;
  #wanted = Symbol("microphone"); // the last that was asked for
  #devicesChanged = () => this.#missing && this.#findAnother();

  /** @param {MicrophoneOptions} options */
  constructor(options) {
    this.#options = options;
  }

  /** @param {MicrophoneOptions} options; @throws {ConnectError} */
  static async open(options) {
    const microphone = new Microphone(options);
    microphone.#adopt(await capture(options.processing, options.deviceId && { ideal: options.deviceId }));
    navigator.mediaDevices.addEventListener("devicechange", microphone.#devicesChanged);
    return microphone;
  }

  get track() {
    return this.stream.getAudioTracks()[0];
  }

  /** @param {boolean} muted it gives silence then, and the browser shows that it is off */
  set muted(muted) {
    this.#muted = muted;
    this.track.enabled = !muted;
  }

  /**
   * Go on with another one; the present one stays when that cannot be opened.
   * @param {string} deviceId "" is the browser's choice
   * @throws {ConnectError}
   */
  async use(deviceId) {
    const wanted = (this.#wanted = Symbol("microphone"));
    const stream = await capture(this.#options.processing, deviceId ? { exact: deviceId } : undefined);
    if (this.#closed || this.#wanted !== wanted) return stop(stream); // another was asked for meanwhile
    stop(this.stream);
    this.#adopt(stream);
    this.onchange();
  }

  close() {
    this.#closed = true;
    navigator.mediaDevices.removeEventListener("devicechange", this.#devicesChanged);
    stop(this.stream);
  }

  /** @param {MediaStream} stream */
  #adopt(stream) {
    this.stream = stream;
    this.#missing = false;
    this.track.enabled = !this.#muted;
    this.track.onended = () => this.#findAnother();
  }

  async #findAnother() {
    const { onproblem } = this.#options;
    try {
      await this.use("");
      if (!this.#closed) onproblem(problem("microphone_changed", false));
    } catch (error) {
      if (!(error instanceof ConnectError)) throw error;
      if (!this.#missing && !this.#closed) onproblem(problem("microphone_lost", false));
      this.#missing = true; // until one is plugged in
    }
  }
}

/** @param {MediaStream} stream */
function stop(stream) {
  for (const track of stream.getTracks()) {
    track.onended = null;
    track.stop();
  }
}

/**
 * @param {Processing} processing
 * @param {ConstrainDOMString | undefined | ""} deviceId
 */
async function capture({ echoCancellation = true, noiseSuppression = true, autoGainControl = true }, deviceId) {
  if (!navigator.mediaDevices) throw new ConnectError(problem("insecure_context", true));
  const audio = { echoCancellation, noiseSuppression, autoGainControl, channelCount: 1, ...(deviceId && { deviceId }) };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    throw microphoneError(/** @type {DOMException} */ (error));
  }
}

/**
 * @typedef {{id: string, label: string}} Device
 * @returns {Promise<{microphones: Device[], speakers: Device[]}>} as far as the browser tells: most name nothing before
 *   the microphone was allowed, and some let no page choose a speaker. The browser's own choice is not among them.
 */
export async function listDevices() {
  const found = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  /** @param {MediaDeviceKind} wanted */
  const named = (wanted) =>
    found
      .filter(({ kind, deviceId, label }) => kind === wanted && label && !["", "default", "communications"].includes(deviceId))
      .map(({ deviceId, label }) => ({ id: deviceId, label }));
  const chooses = "setSinkId" in HTMLMediaElement.prototype;
  return { microphones: named("audioinput"), speakers: chooses ? named("audiooutput") : [] };
}
