/** The console at `/`: puts a TrunklineClient and the page together. */
import { TrunklineClient } from "../client/trunkline-client.js";
import { Choices } from "./choices.js";
import { showConnection, showReady } from "./connection-view.js";
import { byId } from "./dom.js";
import { drawLevels } from "./meters.js";
import { showBackend, showLatency, showProblem, TranscriptView } from "./view.js";

const query = new URLSearchParams(location.search);
const tenant = query.get("tenant") ?? undefined;

const client = new TrunklineClient({ tenant });
/** The page's client, for tests and the curious: `trunkline.stats`, `trunkline.output`. */
globalThis.trunkline = client;

const transcript = new TranscriptView();
const choices = new Choices(client, report);
const typing = { on: false }; // without a microphone

const STATUS = {
  idle: "Not connected",
  starting: "Asking for the microphone",
  connecting: "Connecting",
  ready: "Connected",
  reconnecting: "Reconnecting",
  closed: "Not connected",
};

const KEEP_TALKING = {
  webrtc: "What you say now is not heard. One moment.",
  websocket: "Keep talking: nothing is lost for 15 seconds.",
};

const WORDS = {
  idle: ["Ready when you are", "Your microphone is used only while you are connected."],
  starting: ["Just a moment", "Your browser may ask for the microphone."],
  connecting: ["Connecting", "Calling the gateway."],
  reconnecting: ["Reconnecting", ""],
  closed: ["Conversation ended", "Start again whenever you like."],
  listening: ["Listening", "Go ahead."],
  thinking: ["Thinking", "An answer is on its way."],
  speaking: ["Speaking", "Talk over it to interrupt."],
  muted: ["Muted", "Unmute to be heard."],
  typing: ["Listening", "Type below: no microphone is in use."],
};

/** Problems of WebRTC alone. */
const NEEDS_WEBSOCKET = new Set(["ice_failed", "connection_failed", "no_audio", "webrtc_unsupported"]);
let shownProblem = null;

const INVITATION = [...byId("empty-text").childNodes];

function showWords() {
  const { status, state } = document.body.dataset;
  byId("empty-title").textContent = status === "ready" ? "Say something" : "Talk to Trunkline";
  byId("empty-text").replaceChildren(...(status === "ready" ? ["Your words and the answers appear here."] : INVITATION));
  let key = status === "ready" ? state : status;
  if (key === "listening" && client.muted) key = "muted";
  if (key === "listening" && typing.on) key = "typing";
  const [word, detail] = WORDS[key] ?? [key, ""];
  byId("state").textContent = word;
  byId("detail").textContent = key === "reconnecting" ? KEEP_TALKING[choices.transport] : detail;
  byId("interrupt").disabled = !(status === "ready" && (state === "speaking" || state === "thinking"));
}

function showStatus(status) {
  document.body.dataset.status = status;
  const running = status !== "idle" && status !== "closed";
  byId("status").textContent = typing.on && status === "starting" ? "Connecting" : STATUS[status];
  byId("start").textContent = running ? "Hang up" : "Start talking";
  byId("start").classList.toggle("hang-up", running);
  byId("interrupt").hidden = !running; // all through a call, so that no button moves under the pointer
  byId("mute").hidden = !running || typing.on;
  const ready = status === "ready";
  byId("text").disabled = byId("send").disabled = !ready;
  byId("text").placeholder = ready ? "Type a message" : running ? "One moment" : "Start to type a message";
  choices.locked = running;
  if (status === "closed") transcript.settle();
  if (ready) {
    showReady(client.timings);
    if (shownProblem?.code === "channel_closed") showProblem(null); // it was opened again
  }
  if (!running) showConnection(null);
  if (running) drawLevels(client);
  showWords();
}

function showState(state) {
  document.body.dataset.state = state;
  showWords();
}

async function start(microphone) {
  typing.on = !microphone;
  showProblem(null);
  transcript.clear();
  showState("listening");
  const { transport, devices } = choices;
  try {
    await client.connect({ transport, ...devices, ...(!microphone && { microphone }) });
    choices.refresh(); // the browser names them now
    if (typing.on) byId("text").focus();
  } catch (error) {
    showStatus("idle"); // nothing has begun, so nothing has ended
    report(error.problem);
  }
}

/** What a problem offers to do about it at once. */
function remedy({ code, fatal }) {
  if (fatal && code.startsWith("microphone_")) return { label: "Go on by typing", run: () => start(false) };
  if (!NEEDS_WEBSOCKET.has(code)) return undefined;
  const label = "Use WebSocket instead";
  const run = async () => {
    await client.disconnect();
    choices.transport = "websocket";
    start(!typing.on);
  };
  return { label, run };
}

/** @param {import("../client/problems.js").Problem} problem */
function report(problem) {
  shownProblem = problem;
  showProblem(problem, remedy(problem));
}

function setMuted(muted) {
  client.muted = muted;
  byId("mute").setAttribute("aria-pressed", String(muted));
  byId("mute").textContent = muted ? "Unmute" : "Mute";
  showWords();
}

/** What a model may ask of this page. A tenant that names `show_page` in its `client_tools` can try it. */
const TOOLS = {
  show_page({ page }) {
    transcript.note(`Asked to show the page “${page}”`);
    return { shown: page };
  },
};

/** @param {import("../client/trunkline-client.js").ToolCall} call */
function takeToolCall({ call_id: callId, tool, arguments: given }) {
  const run = Object.hasOwn(TOOLS, tool) ? TOOLS[tool] : () => ({ error: `this page has no ${tool}` });
  client.sendToolOutput(callId, run(given));
}

const ENDINGS = {
  assistant_ended: "The assistant ended the conversation",
  transferred: "The assistant put the call through",
  resumed_elsewhere: "The conversation goes on in another window",
  provider: "The conversation ended: nobody could answer",
  failed: "The conversation ended: it could not be gone on with",
  no_worker: "The conversation ended: nobody was free to answer",
};

const on = (type, take) => client.addEventListener(type, ({ detail }) => take(detail));
on("status", showStatus);
on("problem", report);
on("restarted", () => transcript.restart("A new conversation begins here"));
on("connection", showConnection);
on("devices", () => choices.refresh());
on("backend", showBackend);
on("state", ({ state }) => showState(state));
on("transcript_delta", (message) => transcript.delta(message));
on("transcript", (message) => transcript.final(message));
on("latency", showLatency);
on("tool_call", takeToolCall);
on("tool_result", (result) => transcript.tool(result));
on("closing", ({ reason }) => transcript.note(ENDINGS[reason] ?? "The gateway ended the conversation"));

byId("start").addEventListener("click", () => {
  if (client.status === "idle" || client.status === "closed") start(true);
  else client.disconnect();
});
byId("mute").addEventListener("click", () => setMuted(!client.muted));
byId("interrupt").addEventListener("click", () => client.cancel());
byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = byId("text").value.trim();
  if (!text || !client.sendText(text)) return;
  transcript.typed(text);
  byId("text").value = "";
});
addEventListener("pagehide", () => client.disconnect());

if (tenant) {
  byId("tenant").hidden = false;
  byId("tenant").textContent = tenant;
}
