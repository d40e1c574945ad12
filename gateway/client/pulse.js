/** Whether sound still comes: the gateway sends at least a packet every 400 ms, also while nobody speaks. Pure. */

const SILENT_MS = 1_400;
const SILENT_LOOKS = 3; // a page that was asleep looks once and has not looked at all meanwhile
const NEVER_MS = 3_000;

export class Pulse {
  #received = 0;
  #changedMs;
  #looks = 0;

  /** @param {number} nowMs the connection stands since now */
  constructor(nowMs) {
    this.#changedMs = nowMs;
  }

  /**
   * @param {number} received packets in all
   * @param {number} nowMs
   * @returns {"alive" | "lost" | "never"} lost: nothing comes any more; never: nothing ever came
   */
  look(received, nowMs) {
    if (received !== this.#received) {
      this.#received = received;
      this.#changedMs = nowMs;
      this.#looks = 0;
      return "alive";
    }
    this.#looks += 1;
    const silentMs = nowMs - this.#changedMs;
    if (received === 0) return silentMs > NEVER_MS && this.#looks > SILENT_LOOKS ? "never" : "alive";
    return silentMs > SILENT_MS && this.#looks >= SILENT_LOOKS ? "lost" : "alive";
  }
}
