/** How loud it is at a node, just now. */

const SAMPLES = 512;

export class Meter {
  /** Connect what is to be measured to it. @type {AnalyserNode} */
  node;
  #samples = new Float32Array(SAMPLES);

  /** @param {BaseAudioContext} context */
  constructor(context) {
    this.node = new AnalyserNode(context, { fftSize: SAMPLES });
  }

  /** @returns {number} RMS of the last 512 samples, 0 to 1 */
  get level() {
    this.node.getFloatTimeDomainData(this.#samples);
    return Math.sqrt(this.#samples.reduce((sum, sample) => sum + sample * sample, 0) / SAMPLES);
  }
}
