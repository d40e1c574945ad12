/** How a conversation became ready, part by part, from the click on: also on the browser's own performance timeline. */

/** @typedef {{total_ms: number, parts: [string, number][]}} Parts named stretches of time in ms; they sum to `total_ms` */

export class Timings {
  #beganMs = performance.now();
  /** @type {[string, number][]} each part's end */
  #ends = [];

  /** @param {string} name of the part that is over now; said again (after a reconnect) it changes nothing */
  mark(name) {
    if (this.#ends.some(([known]) => known === name)) return;
    const nowMs = performance.now();
    performance.clearMeasures(`trunkline: ${name}`); // an earlier conversation's: they would be kept for ever
    performance.measure(`trunkline: ${name}`, { start: this.#ends.at(-1)?.[1] ?? this.#beganMs, end: nowMs });
    this.#ends.push([name, nowMs]);
  }

  /** @returns {Parts} so far */
  get parts() {
    let from = this.#beganMs;
    /** @type {[string, number][]} */
    const parts = this.#ends.map(([name, to]) => {
      const ms = to - from;
      from = to;
      return [name, ms];
    });
    return { total_ms: from - this.#beganMs, parts };
  }
}
