/**
 * Plays what the client posts: a thin shell around `Playout`, which decides.
 * Messages in: `push`, `clear`, `pause`, `resume`, `finish`, `reset`. Messages out: the events of `Playout`.
 */
import { Playout } from "./playout.js";
import { Resampler } from "./resampler.js";

const BLOCK = 32; // samples of the wire's rate rendered at a time when resampling

class PlaybackProcessor extends AudioWorkletProcessor {
  #playout;
  #resampler;
  #spare = new Float32Array(0); // resampled, not yet put out

  constructor({ processorOptions: { rateHz } }) {
    super();
    this.#playout = new Playout(rateHz);
    this.#resampler = rateHz === sampleRate ? null : new Resampler(rateHz, sampleRate);
    this.port.onmessage = ({ data }) => this.#command(data);
  }

  process(_inputs, [[out]]) {
    if (this.#resampler) this.#renderResampled(out);
    else this.#playout.render(out);
    for (const event of this.#playout.drain()) this.port.postMessage(event);
    return true;
  }

  #command({ type, turn, offsetMs, pcm }) {
    if (type === "push") this.#playout.push(turn, offsetMs, Float32Array.from(pcm, (sample) => sample / 32768));
    else if (type === "clear") this.#playout.clear(turn);
    else if (type === "pause") this.#playout.pause(turn);
    else if (type === "resume") this.#playout.resume(turn);
    else if (type === "finish") this.#playout.finish(turn);
    else if (type === "reset") this.#playout.reset();
  }

  #renderResampled(out) {
    let filled = 0;
    while (filled < out.length) {
      if (this.#spare.length === 0) {
        const block = new Float32Array(BLOCK);
        this.#playout.render(block);
        this.#spare = this.#resampler.process(block);
      }
      const part = this.#spare.subarray(0, out.length - filled);
      out.set(part, filled);
      filled += part.length;
      this.#spare = this.#spare.subarray(part.length);
    }
  }
}

registerProcessor("trunkline-playback", PlaybackProcessor);
