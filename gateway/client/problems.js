/** Everything that can go wrong on this side of the wire, in words: what happened, and what to do about it. */

/** @typedef {{code: string, message: string, hint: string, fatal: boolean}} Problem */

const PROBLEMS = {
  insecure_context: [
    "This page may not use a microphone.",
    "Browsers allow it only over https, or at http://localhost. Open Trunkline at one of those.",
  ],
  browser_unsupported: [
    "This browser cannot process live audio.",
    "Use a current Chrome, Edge, Firefox or Safari: sound needs AudioWorklet, and WebRTC or WebSocket.",
  ],
  microphone_denied: [
    "The microphone is blocked for this page.",
    "Allow it in the site settings beside the address bar, then start again. Or go on by typing: you will still hear the answers.",
  ],
  microphone_missing: [
    "No microphone was found.",
    "Connect one, or check your system's sound settings, then start again. Or go on by typing.",
  ],
  microphone_busy: [
    "The microphone could not be opened.",
    "Another program may be using it. Close that program, then start again. Or go on by typing.",
  ],
  microphone_lost: [
    "The microphone went away, and there is no other.",
    "Connect one: it is used at once. You can go on by typing.",
  ],
  microphone_changed: [
    "The microphone went away; another one is in use now.",
    "Choose yours from the list when it is back.",
  ],
  speaker_failed: [
    "The sound cannot come out there.",
    "It goes on where it was. Check that the speaker is connected, or choose another one.",
  ],
  audio_suspended: ["The browser has paused this page's audio.", "Click or tap anywhere on the page to go on."],
  webrtc_unsupported: [
    "This browser cannot make WebRTC calls, or they are switched off.",
    "Choose WebSocket as the connection and start again, or use a current Chrome, Edge, Firefox or Safari.",
  ],
  ice_failed: [
    "No way was found for sound between this browser and the gateway.",
    "A firewall is probably in the way of UDP. Try another network, or choose WebSocket as the connection and start again. If it happens to everyone, the gateway needs a TURN server or another advertised address.",
  ],
  connection_failed: [
    "The gateway was reached, but no secure connection came about.",
    "Start again. If it happens again, choose WebSocket as the connection, and look at the gateway's log.",
  ],
  no_audio: [
    "You are connected, but no sound arrives from the gateway.",
    "Hang up and start again, or choose WebSocket as the connection. If it happens again, look at the gateway's log.",
  ],
  channel_closed: [
    "The gateway closed the channel for text and events.",
    "A new connection is being made. If none comes about, start a new conversation.",
  ],
  unreachable: ["The server did not answer.", "Check that the gateway is running and reachable, then start again."],
  connection_lost: [
    "The connection was lost and did not come back within 30 seconds.",
    "Check the network, then start a new conversation.",
  ],
  resume_rejected: [
    "The earlier conversation could not be continued.",
    "The server no longer accepts its token, so a new conversation has begun.",
  ],
  provider: [
    "Nobody could answer: the speech service failed.",
    "Start again in a moment. If it happens again, a provider's key, quota or address is wrong: `trunkline doctor` says which.",
  ],
  failed: ["The conversation could not be gone on with.", "Start a new one. The gateway's and the workers' logs say why."],
  no_worker: [
    "Nobody was free to answer.",
    "Start again in a moment. If it happens again, start more workers, or see whether those there are still run.",
  ],
  audio_gap: [
    "Some of what you said was lost while the connection was down.",
    "Only the last 15 seconds can be kept. Please say it again.",
  ],
  bad_input: ["The server did not accept what this page sent.", "Reload the page: it may be older than the server."],
  silent: ["The server heard nothing from this page and hung up.", "Start again, and keep this tab awake."],
  resumed_elsewhere: ["This conversation goes on in another window.", "Go on there, or start a new one here."],
  too_large: ["The server refused a message that was too large.", "Start again, and send shorter messages."],
  busy: ["The server has as many conversations as it can take.", "Wait a moment, then start again."],
  server_failed: ["The server failed.", "Start again. If it happens again, look at the gateway's log."],
};

/** Why a gateway ended the conversation, where that is a problem (docs/websocket.md, `closing`). */
const ENDINGS = ["provider", "failed", "no_worker"];

/** Close codes after which coming back is pointless. @type {Record<number, keyof typeof PROBLEMS>} */
const CLOSE_CODES = {
  4400: "bad_input",
  4408: "silent",
  4409: "resumed_elsewhere",
  4413: "too_large",
  4429: "busy",
  4500: "server_failed",
};

/** @type {Record<string, keyof typeof PROBLEMS>} */
const MICROPHONE_ERRORS = {
  NotAllowedError: "microphone_denied",
  SecurityError: "microphone_denied",
  NotFoundError: "microphone_missing",
  OverconstrainedError: "microphone_missing",
  NotReadableError: "microphone_busy",
  AbortError: "microphone_busy",
};

/**
 * @param {keyof typeof PROBLEMS} code
 * @param {boolean} fatal whether the conversation is over (or never began)
 * @returns {Problem}
 */
export function problem(code, fatal) {
  const [message, hint] = PROBLEMS[code];
  return { code, message, hint, fatal };
}

/** @param {number} closeCode of a WebSocket; @returns {Problem | null} null when one may come back */
export function closeProblem(closeCode) {
  const code = CLOSE_CODES[closeCode];
  return code ? problem(code, true) : null;
}

/** @param {string} reason of `closing`; @returns {Problem | null} null when that is no problem */
export function endingProblem(reason) {
  return ENDINGS.includes(reason) ? problem(/** @type {keyof typeof PROBLEMS} */ (reason), true) : null;
}

/** Thrown by `connect` and by what changes a device; `problem` is for the user. */
export class ConnectError extends Error {
  /**
   * @param {Problem} detail
   * @param {ErrorOptions} [options]
   */
  constructor(detail, options) {
    super(detail.message, options);
    this.problem = detail;
  }
}

/** @param {DOMException} error of getUserMedia */
export function microphoneError(error) {
  return new ConnectError(problem(MICROPHONE_ERRORS[error.name] ?? "microphone_busy", true), { cause: error });
}
