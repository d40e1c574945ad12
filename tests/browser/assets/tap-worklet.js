/** Records what it hears, sample by sample, with the context's clock: for tests. */
class Tap extends AudioWorkletProcessor {
  process([[channel]]) {
    this.port.postMessage({ frame: currentFrame, samples: channel ? channel.slice() : new Float32Array(128) });
    return true;
  }
}
registerProcessor("tap", Tap);
