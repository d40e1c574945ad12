/** What the page shows of the connection: how it is doing, and how it became ready. */
import { byId, element } from "./dom.js";
import { showParts } from "./view.js";

const PATHS = {
  host: "direct",
  srflx: "direct, through NAT",
  prflx: "direct, through NAT",
  relay: "through TURN",
  websocket: "WebSocket",
};
const PARTS = {
  offer: "offer made",
  answer: "gateway's answer",
  ice: "way found (ICE)",
  dtls: "encryption (DTLS)",
  channel: "data channel",
};
const STATES = { disconnected: "no answer just now", checking: "looking for a way", failed: "no way found" };

/** @param {import("../client/connection.js").Connection | null} connection null: there is none */
export function showConnection(connection) {
  byId("connection").hidden = connection === null;
  if (connection === null) return;
  const { path, state, codec, round_trip_ms, jitter_ms, buffer_ms, lost_down, lost_up, reconnects } = connection;
  const words = [way(path, state), codec, reconnects ? `came back ${times(reconnects)}` : null];
  byId("way").textContent = words.filter(Boolean).join(" · ");
  const lost = lost_down === null ? null : Math.max(lost_down, lost_up ?? 0);
  const figures = [
    ["Round trip", milliseconds(round_trip_ms), "Of a packet to the gateway and back"],
    ["Jitter", milliseconds(jitter_ms), "How unevenly packets come"],
    ["Buffer", milliseconds(buffer_ms), "How long what comes waits until it is played"],
    ["Lost", lost === null ? null : percent(lost), lostOf(lost_down, lost_up)],
  ].filter(([, figure]) => figure !== null);
  byId("figures").replaceChildren(...figures.map(([name, figure, title]) => tile(name, figure, title)));
}

function tile(name, figure, title) {
  const node = element("div", "");
  node.title = title;
  node.append(element("dt", "", name), element("dd", "", figure));
  return node;
}

/** @param {import("../client/timings.js").Parts} timings */
export function showReady(timings) {
  byId("ready").hidden = false;
  showParts("ready", { ...timings, parts: timings.parts.map(([name, ms]) => [PARTS[name] ?? name, ms]) });
}

const milliseconds = (ms) => (ms === null ? null : `${ms} ms`);
const percent = (share) => `${(share * 100).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
const times = (count) => (count === 1 ? "once" : `${count} times`);

function way(path, state) {
  if (STATES[state]) return STATES[state];
  if (path === null) return null;
  const [kind, protocol] = path.split(" ");
  return `${PATHS[kind] ?? kind}, ${protocol.toUpperCase()}`;
}

function lostOf(down, up) {
  const words = [down === null ? "" : `${percent(down)} of what came`, up === null ? "" : `${percent(up)} of what was sent`];
  return `In the last 10 seconds: ${words.filter(Boolean).join(", ")}`;
}
