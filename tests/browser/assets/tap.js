/** Test helpers for the page: record what is really heard, and play a known signal into the uplink. */

/** @param {AudioNode} output a client's `output`; @returns a recording that grows */
export async function tap(output) {
  const { context } = output;
  await context.audioWorklet.addModule("/assets/tap-worklet.js");
  const node = new AudioWorkletNode(context, "tap", { numberOfOutputs: 0 });
  const recording = { rateHz: context.sampleRate, firstFrame: null, samples: [], marks: [] };
  node.port.onmessage = ({ data }) => {
    recording.firstFrame ??= data.frame;
    for (const sample of data.samples) recording.samples.push(sample);
  };
  recording.mark = (name) => recording.marks.push([name, context.currentTime * context.sampleRate - (recording.firstFrame ?? 0)]);
  output.connect(node);
  return recording;
}

/** @param {number} count of samples; @returns {Int16Array} noise that never repeats within it, the same each time */
export function knownSignal(count) {
  let state = 12345;
  return Int16Array.from({ length: count }, () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 18) - 8192;
  });
}

/** For `connect({source})`: the known signal once, at the rate of the context. */
export const signalSource = (count) => (context) => {
  const buffer = new AudioBuffer({ length: count, sampleRate: context.sampleRate });
  buffer.copyToChannel(Float32Array.from(knownSignal(count), (sample) => sample / 32768), 0);
  const source = new AudioBufferSourceNode(context, { buffer });
  globalThis.startSignal = () => source.start();
  return source;
};
