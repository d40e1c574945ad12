/** Keeps a page's sound running, as far as browsers let a page: some of it only the user can start. */
import { problem } from "./problems.js";

const START_MS = 1_000; // a context that does not run by then waits for the user
const SIGNS = ["pointerup", "keydown"]; // a finger's `pointerdown` is none: it may begin to scroll

export class Awake {
  #context;
  #onproblem;
  #wake;
  /** @type {AbortController | null} while the user is waited for */
  #asking = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #late;
  #stopped = false;

  /**
   * @param {AudioContext} context
   * @param {(problem: import("./problems.js").Problem) => void} onproblem
   * @param {() => Promise<unknown>} wake what else is to be started when the user has done something
   */
  constructor(context, onproblem, wake = async () => {}) {
    this.#context = context;
    this.#onproblem = onproblem;
    this.#wake = wake;
    context.onstatechange = () => (context.state === "running" ? this.#woken() : this.ask());
  }

  /** It should sound from now on. */
  start() {
    this.#resume();
    this.#late ??= setTimeout(() => this.#context.state !== "running" && this.ask(), START_MS);
  }

  /** Only the user can start it: say so, once, and go on at the next click, tap or key. */
  ask() {
    if (this.#stopped || this.#asking) return;
    this.#asking = new AbortController();
    const { signal } = this.#asking;
    for (const sign of SIGNS) globalThis.addEventListener(sign, () => this.#answered(), { signal });
    this.#onproblem(problem("audio_suspended", false));
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#late);
    this.#context.onstatechange = null;
    this.#woken();
  }

  #answered() {
    this.#woken();
    this.#resume();
    this.#wake().catch(() => this.ask());
  }

  #woken() {
    this.#asking?.abort();
    this.#asking = null;
  }

  #resume() {
    this.#context.resume().catch(() => this.ask()); // not settled at all, where the user has done nothing yet
  }
}
