/** The last 15 s of captured audio with its media time, so that a resumed session gets what the lost socket swallowed. Pure. */

const KEEP_S = 15;
const BLOCK_S = 0.1; // resent in blocks of this length

export class SentAudio {
  #rateHz;
  /** @type {Int16Array[]} */
  #frames = [];
  #kept = 0;
  #end = 0; // media time of the sample captured next, in samples

  /** @param {number} rateHz */
  constructor(rateHz) {
    this.#rateHz = rateHz;
  }

  /** Where the audio captured next belongs, in ms of media time. */
  get endMs() {
    return (this.#end * 1000) / this.#rateHz;
  }

  /** @param {Int16Array} frame */
  push(frame) {
    this.#frames.push(frame);
    this.#kept += frame.length;
    this.#end += frame.length;
    while (this.#kept - this.#frames[0].length >= KEEP_S * this.#rateHz) {
      this.#kept -= this.#frames.shift()?.length ?? 0;
    }
  }

  /** A new session: media time begins at 0 again. */
  restart() {
    this.#frames = [];
    this.#kept = this.#end = 0;
  }

  /**
   * Everything from a media time on. What is no longer kept comes as silence: media time must not shift.
   * @param {number} mediaMs
   * @returns {{blocks: Int16Array[], lostMs: number}}
   */
  since(mediaMs) {
    const from = Math.min(this.#end, Math.max(0, Math.round((mediaMs * this.#rateHz) / 1000)));
    const samples = new Int16Array(this.#end - from);
    let at = this.#end - this.#kept - from; // where the oldest kept frame goes; negative when it was received
    const lostMs = (Math.max(0, at) * 1000) / this.#rateHz;
    for (const frame of this.#frames) {
      if (at >= 0) samples.set(frame, at);
      else if (at + frame.length > 0) samples.set(frame.subarray(-at), 0);
      at += frame.length;
    }
    const block = this.#rateHz * BLOCK_S;
    const blocks = Array.from({ length: Math.ceil(samples.length / block) }, (_, i) =>
      samples.subarray(i * block, (i + 1) * block),
    );
    return { blocks, lostMs };
  }
}
