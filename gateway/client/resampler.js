/**
 * Streaming sample-rate conversion, for browsers whose AudioContext cannot run at the rate of the wire.
 * Pure: also loaded inside the audio worklets.
 */

const ZERO_CROSSINGS = 16;
const PASSBAND = 0.94; // of the lower Nyquist rate; the rest is the filter's slope

const gcd = (a, b) => (b === 0 ? a : gcd(b, a % b));
const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

/** A polyphase windowed-sinc resampler. Feeding it in pieces of any size gives the same samples as feeding it at once. */
export class Resampler {
  #up;
  #down;
  #reach; // taps on either side of an output sample, in input samples
  #phases;
  #history;
  #position = 0; // of the next output sample, in 1/up input samples from the first one not yet passed

  /**
   * @param {number} fromHz
   * @param {number} toHz
   */
  constructor(fromHz, toHz) {
    const divisor = gcd(fromHz, toHz);
    this.#up = toHz / divisor;
    this.#down = fromHz / divisor;
    this.#reach = Math.ceil(ZERO_CROSSINGS * Math.max(1, fromHz / toHz));
    this.#phases = this.#design();
    this.#history = new Float32Array(this.#reach * 2);
  }

  /**
   * @param {Float32Array} input samples at `fromHz`
   * @returns {Float32Array} the samples at `toHz` that can be computed by now
   */
  process(input) {
    if (this.#up === this.#down) return input.slice();
    const samples = new Float32Array(this.#history.length + input.length);
    samples.set(this.#history);
    samples.set(input, this.#history.length);

    const passed = input.length * this.#up;
    const count = Math.max(0, Math.ceil((passed - this.#position) / this.#down));
    const output = new Float32Array(count);
    for (let k = 0; k < count; k += 1) {
      const start = Math.floor(this.#position / this.#up);
      const taps = this.#phases[this.#position % this.#up];
      let sum = 0;
      for (let i = 0; i < taps.length; i += 1) sum += samples[start + i] * taps[i];
      output[k] = sum;
      this.#position += this.#down;
    }
    this.#position -= passed;
    this.#history = samples.slice(samples.length - this.#history.length);
    return output;
  }

  #design() {
    const cutoff = PASSBAND * Math.min(1, this.#up / this.#down);
    return Array.from({ length: this.#up }, (_, phase) => {
      const taps = Float64Array.from({ length: this.#reach * 2 }, (_, i) => {
        const distance = i - this.#reach + 1 - phase / this.#up;
        const window = 0.5 + 0.5 * Math.cos((Math.PI * distance) / (this.#reach + 1));
        return sinc(distance * cutoff) * window;
      });
      const sum = taps.reduce((a, b) => a + b, 0);
      return Float32Array.from(taps, (tap) => tap / sum);
    });
  }
}
