/** What the page shows of the connection: how it is doing, and how it became ready. */
import { byId, element } from "./dom.js";
import { showParts } from "./view.js";

const PATHS = {
  host: "direct",
  srflx: "direct, through NAT",
  prflx: "direct, through NAT",
  relay: "through TURN",
};
const STATES = { disconnected: "no answer just now", checking: "looking for a way", failed: "no way found" };

/** @param {import("../client/connection.js").Connection | null} connection null: there is none */
export function showConnection(connection) {
  byId("connection").hidden = connection === null;
  if (connection === null) return;
  const { path, state, codec, round_trip_ms, jitter_ms, buffer_ms, lost_down, lost_up, reconnects } = connection;
  const rows = [
    ["Way", way(path, state)],
    ["Codec", codec],
    ["Round trip", milliseconds(round_trip_ms)],
    ["Jitter", milliseconds(jitter_ms)],
    ["Buffer", milliseconds(buffer_ms)],
    ["Lost", lost(lost_down, lost_up)],
    ["Came back", reconnects ? `${reconnects} ${reconnects === 1 ? "time" : "times"}` : null],
  ];
  byId("connection").replaceChildren(
    ...rows.filter(([, said]) => said).flatMap(([name, said]) => [element("dt", "", name), element("dd", "", said)]),
  );
}

/** @param {import("../client/timings.js").Parts} timings */
export function showReady(timings) {
  byId("ready").hidden = false;
  showParts("ready", timings);
}

const milliseconds = (ms) => (ms === null ? null : `${ms} ms`);
const percent = (share) => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;

function way(path, state) {
  if (STATES[state]) return STATES[state];
  if (path === null) return null;
  const [kind, protocol] = path.split(" ");
  return `${PATHS[kind] ?? kind}, ${protocol.toUpperCase()}`;
}

function lost(down, up) {
  if (down === null) return null;
  return up === null ? percent(down) : `${percent(down)} down, ${percent(up)} up`;
}
