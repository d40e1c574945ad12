/** Looks after a peer connection that stands: how it does, whether it still lives, what of the answer has been heard. */
import { Gauge } from "./connection.js";
import { Pulse } from "./pulse.js";

const LOOK_MS = 400;
const REPORT_MS = 200;
const AUDIBLE = 0.001; // RMS
const AUDIBLE_FOR_MS = 1_000; // an answer that ends in silence has been heard to its end

/**
 * @typedef {object} WatchHandlers
 * @property {() => number} level RMS of what is heard just now
 * @property {(reading: ReturnType<Gauge["read"]>) => void} onreading about once a second
 * @property {(rtpTimestamp: number) => boolean} onheard up to here the answer has been heard; returns whether that was said
 * @property {() => void} onmute no packet has come since it stands; once
 * @property {() => void} onlost packets came, and none comes any more
 */

export class Watch {
  /** Whether an answer is being given, as the gateway says. */
  speaking = false;
  #peer;
  #handlers;
  #gauge = new Gauge();
  #pulse = new Pulse(performance.now());
  #looks = 0;
  #mute = false;
  #stopped = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #looking;
  #reporting;
  #audibleMs = -Infinity;
  /** @type {number | undefined} the RTP timestamp that was reported last */
  #reported;

  /**
   * @param {import("./peer.js").Peer} peer
   * @param {WatchHandlers} handlers
   */
  constructor(peer, handlers) {
    this.#peer = peer;
    this.#handlers = handlers;
    this.#reporting = setInterval(() => this.#reportIfAnswering(), REPORT_MS);
    this.#look();
  }

  /** It is lost, or seems so: look no more. What is heard of it all the same is said still, as far as it can be. */
  giveUp() {
    this.#stopped = true;
    clearTimeout(this.#looking);
  }

  stop() {
    this.giveUp();
    clearInterval(this.#reporting);
  }

  /** Say now what has been heard. */
  report() {
    const { heard } = this.#peer;
    if (heard === undefined || heard === this.#reported) return;
    if (this.#handlers.onheard(heard)) this.#reported = heard;
  }

  async #look() {
    const reading = this.#gauge.read(await this.#peer.stats(), performance.now());
    if (this.#stopped) return;
    this.#looks += 1;
    if (this.#looks % 2 === 1) this.#handlers.onreading(reading);
    const verdict = this.#pulse.look(this.#gauge.received, performance.now());
    if (verdict === "lost") return this.#handlers.onlost();
    if (verdict === "never" && !this.#mute) this.#handlers.onmute();
    this.#mute ||= verdict === "never";
    this.#looking = setTimeout(() => this.#look(), LOOK_MS);
  }

  /** Between two answers the gateway's sparse packets say nothing. */
  #reportIfAnswering() {
    const nowMs = performance.now();
    if (this.#handlers.level() > AUDIBLE) this.#audibleMs = nowMs;
    if (this.speaking || nowMs - this.#audibleMs < AUDIBLE_FOR_MS) this.report();
  }
}
