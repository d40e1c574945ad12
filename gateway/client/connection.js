/** How a WebRTC connection is doing, out of what `getStats` says. Pure. */

/**
 * @typedef {object} Connection of either transport; what it cannot tell is null
 * @property {"webrtc" | "websocket"} transport
 * @property {string} state "checking", "connected", "disconnected", ... as ICE has it
 * @property {string | null} path how packets travel: "host udp", "srflx udp", "relay udp" (through TURN), "relay tcp", ...,
 *   or "websocket tcp"
 * @property {string | null} codec
 * @property {number | null} round_trip_ms
 * @property {number | null} jitter_ms of what comes
 * @property {number | null} buffer_ms how long what comes waits to be played
 * @property {number | null} lost_down the share of packets that did not come in the last 10 s, 0 to 1
 * @property {number | null} lost_up the share of our packets that did not arrive, as the gateway says
 * @property {number} reconnects
 */

const WINDOW_MS = 10_000;

/** @typedef {{atMs: number, received: number, lost: number, delayS: number, played: number}} Sample */

/** Look at it about once a second. */
export class Gauge {
  /** @type {Sample[]} */
  #samples = [];

  /** Packets that came in all. */
  get received() {
    return this.#samples.at(-1)?.received ?? 0;
  }

  /**
   * @param {RTCStatsReport} report
   * @param {number} nowMs
   * @returns {Omit<Connection, "transport" | "state" | "reconnects">}
   */
  read(report, nowMs) {
    const all = [...report.values()];
    const inbound = all.find(({ type, kind }) => type === "inbound-rtp" && kind === "audio");
    const told = all.find(({ type, kind }) => type === "remote-inbound-rtp" && kind === "audio");
    const pair = chosenPair(report, all);
    const { lostShare, waitedMs } = this.#window(inbound, nowMs);
    return {
      path: pathOf(report.get(pair?.localCandidateId)),
      codec: codecOf(report.get(inbound?.codecId)),
      round_trip_ms: milliseconds(pair?.currentRoundTripTime),
      jitter_ms: milliseconds(inbound?.jitter),
      buffer_ms: waitedMs,
      lost_down: lostShare,
      lost_up: told?.fractionLost ?? null,
    };
  }

  /**
   * @param {any} inbound of RTCInboundRtpStreamStats
   * @param {number} nowMs
   */
  #window(inbound, nowMs) {
    if (!inbound) return { lostShare: null, waitedMs: null };
    const latest = {
      atMs: nowMs,
      received: inbound.packetsReceived ?? 0,
      lost: inbound.packetsLost ?? 0,
      delayS: inbound.jitterBufferDelay ?? 0,
      played: inbound.jitterBufferEmittedCount ?? 0,
    };
    this.#samples.push(latest);
    while (this.#samples[0].atMs < nowMs - WINDOW_MS) this.#samples.shift();
    const [first] = this.#samples;
    const lost = Math.max(0, latest.lost - first.lost); // a late packet takes its loss back
    const expected = latest.received - first.received + lost;
    const played = latest.played - first.played;
    return {
      lostShare: expected > 0 ? lost / expected : 0,
      waitedMs: played > 0 ? Math.round(((latest.delayS - first.delayS) / played) * 1000) : null,
    };
  }
}

/**
 * @param {RTCStatsReport} report
 * @param {any[]} all
 */
function chosenPair(report, all) {
  const transport = all.find(({ type, selectedCandidatePairId }) => type === "transport" && selectedCandidatePairId);
  if (transport) return report.get(transport.selectedCandidatePairId);
  return all.find(({ type, nominated, state }) => type === "candidate-pair" && nominated && state === "succeeded");
}

/** @param {any} candidate of ours; one of TURN says how it reaches the server */
function pathOf(candidate) {
  if (!candidate) return null;
  return `${candidate.candidateType} ${candidate.relayProtocol ?? candidate.protocol}`;
}

/** @param {any} codec */
function codecOf(codec) {
  if (!codec) return null;
  return `${codec.mimeType.replace("audio/", "")} ${codec.clockRate / 1000} kHz`;
}

/** @param {number | undefined} seconds */
function milliseconds(seconds) {
  return seconds === undefined ? null : Math.round(seconds * 1000);
}
