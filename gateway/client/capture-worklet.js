/**
 * Cuts what the microphone hears into frames of 20 ms, 16-bit, at the wire's rate, and posts each as an ArrayBuffer.
 * Without an input it posts silence, so that media time goes on.
 */
import { Resampler } from "./resampler.js";

const FRAME_S = 0.02;
const SILENCE = new Float32Array(128);

class CaptureProcessor extends AudioWorkletProcessor {
  #resampler;
  #frame;
  #filled = 0;

  constructor({ processorOptions: { rateHz } }) {
    super();
    this.#resampler = rateHz === sampleRate ? null : new Resampler(sampleRate, rateHz);
    this.#frame = new Int16Array(rateHz * FRAME_S);
  }

  process([[channel]]) {
    const input = channel ?? SILENCE;
    const samples = this.#resampler ? this.#resampler.process(input) : input;
    for (const sample of samples) {
      this.#frame[this.#filled] = Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));
      this.#filled += 1;
      if (this.#filled === this.#frame.length) this.#post();
    }
    return true;
  }

  #post() {
    const { buffer, length } = this.#frame;
    this.port.postMessage(buffer, [buffer]);
    this.#frame = new Int16Array(length);
    this.#filled = 0;
  }
}

registerProcessor("trunkline-capture", CaptureProcessor);
