/** When to call again after a loss: at once, then ever later, for as long as the gateway holds the session. Pure. */

const WAITS_MS = [0, 50, 100, 200, 500, 1000, 2000]; // and every 2 s from there
const GIVE_UP_MS = 30_000;

export class Retries {
  #lostMs;
  #count = 0;

  /** @param {number} lostMs when the link was lost, on a clock that never goes back */
  constructor(lostMs) {
    this.#lostMs = lostMs;
  }

  /** How many attempts there have been. */
  get count() {
    return this.#count;
  }

  /**
   * @param {number} nowMs
   * @returns {number | null} how many ms to wait before the next attempt; null when it is too late for one
   */
  next(nowMs) {
    const wait = WAITS_MS[Math.min(this.#count, WAITS_MS.length - 1)];
    this.#count += 1;
    return nowMs + wait - this.#lostMs > GIVE_UP_MS ? null : wait;
  }
}
