/**
 * The jitter buffer: what arrived of the answer, when to begin, what was really rendered.
 * Pure: no clock, no messages; the playback worklet drives it with one `render` per quantum.
 *
 * No edge clicks: a start fades in, and a stop (clear, pause, underrun) lets the last value die away over the same ramp.
 */

/**
 * @typedef {{type: "played", turn: number, ms: number}
 *   | {type: "underrun", turn: number}
 *   | {type: "overflow", turn: number, ms: number}} PlayoutEvent
 */

const START_MS = 60;
const START_WAIT_MS = 120; // a turn shorter than START_MS begins after this
const RAMP_MS = 4;
const REPORT_MS = 100;
const MOST_QUEUED_MS = 60_000;

export class Playout {
  #rateHz;
  #startSamples;
  #waitSamples;
  #reportSamples;
  #mostQueued;
  #fade; // from almost 1 to 0

  /** @type {{turn: number, start: number, samples: Float32Array}[]} */
  #queue = [];
  #read = 0; // samples taken from the first chunk of the queue
  #queued = 0; // samples not yet rendered
  #end = { turn: -1, sample: 0 }; // where the audio that arrived last ends
  #cleared = -1; // turns up to this one are dead
  #held = -1; // the paused turn
  #starved = -1; // the turn that ran dry and has not been declared over

  #sounding = false;
  #waited = 0;
  #rise = 0; // ramp samples still to fade in
  #tail = 0; // ramp samples still to die away
  #tailFrom = 0;
  #last = 0;

  #heard = { turn: -1, sample: 0 };
  #unreported = 0;
  /** @type {PlayoutEvent[]} */
  #events = [];

  /** @param {number} rateHz of the audio that is pushed and rendered */
  constructor(rateHz) {
    const samples = (/** @type {number} */ ms) => Math.round((ms * rateHz) / 1000);
    this.#rateHz = rateHz;
    this.#startSamples = samples(START_MS);
    this.#waitSamples = samples(START_WAIT_MS);
    this.#reportSamples = samples(REPORT_MS);
    this.#mostQueued = samples(MOST_QUEUED_MS);
    const ramp = samples(RAMP_MS);
    this.#fade = Float32Array.from({ length: ramp }, (_, i) => 0.5 + 0.5 * Math.cos((Math.PI * (i + 1)) / ramp));
  }

  /** How much is waiting to be rendered, in ms. */
  get queuedMs() {
    return this.#ms(this.#queued);
  }

  /**
   * Take audio of a turn. What was already taken (an overlap after a reconnect) and what belongs to a cleared turn is dropped.
   * @param {number} turn
   * @param {number} offsetMs of the first sample, from the turn's start
   * @param {Float32Array} samples
   */
  push(turn, offsetMs, samples) {
    if (turn <= this.#cleared) return;
    let start = Math.round((offsetMs * this.#rateHz) / 1000);
    const overlap = turn === this.#end.turn ? Math.max(0, this.#end.sample - start) : 0;
    if (overlap >= samples.length) return;
    if (this.#queued + samples.length > this.#mostQueued) {
      this.#events.push({ type: "overflow", turn, ms: this.#ms(samples.length) });
      return;
    }
    start += overlap;
    const fresh = samples.subarray(overlap);
    if (turn === this.#starved) this.#events.push({ type: "underrun", turn });
    this.#starved = -1;
    this.#queue.push({ turn, start, samples: fresh });
    this.#queued += fresh.length;
    this.#end = { turn, sample: start + fresh.length };
  }

  /** Throw away what is left of `turn`, and whatever still arrives of it. @param {number} turn */
  clear(turn) {
    this.#cleared = Math.max(this.#cleared, turn);
    const cut = this.#queue.length > 0 && this.#queue[0].turn <= turn;
    this.#queue = this.#queue.filter((chunk) => chunk.turn > turn);
    if (cut) this.#read = 0;
    this.#queued = this.#queue.reduce((sum, chunk) => sum + chunk.samples.length, 0) - this.#read;
    if (cut && this.#sounding) this.#stop();
    if (this.#held <= turn) this.#held = -1;
    if (this.#starved <= turn) this.#starved = -1;
    this.#events.push({ type: "played", turn, ms: this.#heard.turn === turn ? this.#ms(this.#heard.sample) : 0 });
    this.#unreported = 0;
  }

  /** Hold `turn` where it is. @param {number} turn */
  pause(turn) {
    this.#held = turn;
    if (this.#sounding && this.#queue[0]?.turn === turn) this.#stop();
    this.#report();
  }

  /** Go on with `turn`. @param {number} turn */
  resume(turn) {
    if (this.#held !== turn) return;
    this.#held = -1;
    this.#waited = this.#waitSamples; // it was playing: begin again at once
  }

  /**
   * Nothing more will come of `turn`: begin it if it is still filling, and call its dry buffer an end, not an underrun.
   * @param {number} turn
   */
  finish(turn) {
    if (this.#starved === turn) this.#starved = -1;
    if (this.#queue[0]?.turn === turn) this.#waited = this.#waitSamples;
  }

  /** A new conversation: silence, and turns are numbered from the start again. */
  reset() {
    if (this.#sounding) this.#stop();
    this.#queue = [];
    this.#read = this.#queued = this.#unreported = 0;
    this.#end = { turn: -1, sample: 0 };
    this.#heard = { turn: -1, sample: 0 };
    this.#cleared = this.#held = this.#starved = -1;
    this.#events = [];
  }

  /** @param {Float32Array} out is filled with the next samples */
  render(out) {
    this.#start(out.length);
    for (let i = 0; i < out.length; i += 1) {
      if (this.#sounding && this.#read === 0) this.#enter(this.#queue[0]);
      let value = this.#sounding ? this.#next() : 0;
      if (this.#tail > 0) {
        value += this.#tailFrom * this.#fade[this.#fade.length - this.#tail];
        this.#tail -= 1;
      }
      this.#last = value;
      out[i] = value;
      if (this.#sounding && this.#queue.length === 0) this.#starve();
    }
  }

  /** @returns {PlayoutEvent[]} what happened since the last call */
  drain() {
    if (this.#events.length === 0) return [];
    const events = this.#events;
    this.#events = [];
    return events;
  }

  /** @param {number} quantum samples that are rendered at a time */
  #start(quantum) {
    if (this.#sounding || this.#queue.length === 0 || this.#queue[0].turn === this.#held) return;
    this.#waited += quantum;
    if (this.#queued < this.#startSamples && this.#waited < this.#waitSamples) return;
    this.#sounding = true;
    this.#rise = this.#fade.length;
  }

  #stop() {
    this.#sounding = false;
    this.#waited = 0;
    this.#dieAway();
  }

  #dieAway() {
    this.#tailFrom = this.#last;
    this.#tail = this.#fade.length;
  }

  #next() {
    const chunk = this.#queue[0];
    let value = chunk.samples[this.#read];
    if (this.#rise > 0) {
      value *= 1 - this.#fade[this.#fade.length - this.#rise];
      this.#rise -= 1;
    }
    this.#read += 1;
    this.#queued -= 1;
    this.#heard.sample += 1;
    this.#unreported += 1;
    if (this.#unreported >= this.#reportSamples) this.#report();
    if (this.#read === chunk.samples.length) {
      this.#queue.shift();
      this.#read = 0;
    }
    return value;
  }

  /** @param {{turn: number, start: number}} chunk */
  #enter(chunk) {
    if (chunk.turn === this.#held) {
      this.#stop();
      return;
    }
    if (chunk.turn === this.#heard.turn && chunk.start === this.#heard.sample) return;
    if (this.#heard.turn !== chunk.turn) this.#report();
    this.#heard = { turn: chunk.turn, sample: chunk.start };
    this.#dieAway();
    this.#rise = this.#fade.length;
  }

  #starve() {
    this.#starved = this.#heard.turn;
    this.#report();
    this.#stop();
  }

  #report() {
    if (this.#unreported === 0) return;
    this.#unreported = 0;
    this.#events.push({ type: "played", turn: this.#heard.turn, ms: this.#ms(this.#heard.sample) });
  }

  /** @param {number} samples */
  #ms(samples) {
    return Math.round((samples * 1000) / this.#rateHz);
  }
}
