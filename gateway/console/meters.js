/** How loud both sides are: two meters, and the orb. Levels are drawn on a logarithmic scale from -60 dB to full scale. */
import { byId } from "./dom.js";

const FLOOR_DB = -60;
const BAR_COUNT = 5;
const BAR_STEP_MS = 40;
const FROM_THE_MIDDLE = [2, 1, 0, 1, 2];

const loudness = (rms) => Math.max(0, Math.min(1, 1 - (20 * Math.log10(rms + 1e-6)) / FLOOR_DB));
const bars = [...document.querySelectorAll(".core i")];
const history = new Array(BAR_COUNT).fill(0);
let drawing = false;
let drawn = 0;

/** @param {import("../client/trunkline-client.js").TrunklineClient} client drawn for as long as it is connected */
export function drawLevels(client) {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(function frame(time) {
    const running = client.status !== "idle" && client.status !== "closed";
    const { mic, speaker } = running ? client.levels : { mic: 0, speaker: 0 };
    drawMeter(byId("mic"), loudness(mic));
    drawMeter(byId("speaker"), loudness(speaker));
    drawing = running;
    if (!running) return stillOrb();
    drawOrb(document.body.dataset.state === "speaking" ? loudness(speaker) : loudness(mic), time);
    requestAnimationFrame(frame);
  });
}

function drawMeter(meter, level) {
  meter.firstElementChild.style.transform = `scaleX(${level.toFixed(3)})`;
  const percent = String(Math.round(level * 20) * 5);
  if (meter.getAttribute("aria-valuenow") !== percent) meter.setAttribute("aria-valuenow", percent);
}

function drawOrb(level, time) {
  if (time - drawn < BAR_STEP_MS) return;
  drawn = time;
  history.unshift(level);
  history.pop();
  setBars(level);
}

function stillOrb() {
  history.fill(0);
  setBars(0);
}

function setBars(level) {
  bars.forEach((bar, i) => bar.style.setProperty("--level", history[FROM_THE_MIDDLE[i]].toFixed(3)));
  document.body.style.setProperty("--level", level.toFixed(3));
}
