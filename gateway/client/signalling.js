/** The gateway's HTTP side of a WebRTC call: docs/webrtc.md. */
import { ConnectError, problem } from "./problems.js";

const PATH = "api/realtime/webrtc/";

/**
 * @typedef {object} Reply
 * @property {string} session_id
 * @property {string} conversation_id
 * @property {string} answer SDP
 * @property {string} resume the token for coming back, and for what is said about this session over HTTP
 * @property {number} rate_hz
 */

/** The gateway answered, and said no; `status` is HTTP's. */
export class Refused extends ConnectError {
  /**
   * @param {import("./problems.js").Problem} detail
   * @param {number} status
   */
  constructor(detail, status) {
    super(detail);
    this.status = status;
  }

  /** Whether another attempt, or another gateway, may do better. */
  get passing() {
    return this.status >= 500 || this.status === 429;
  }
}

export class Signalling {
  #gateway;

  /** @param {string} gateway its address, ending in a slash */
  constructor(gateway) {
    this.#gateway = gateway;
  }

  /**
   * @param {AbortSignal} signal
   * @returns {Promise<{ice_servers: RTCIceServer[], ttl_s: number}>}
   * @throws {ConnectError}
   */
  async config(signal) {
    return this.#told("config", { signal });
  }

  /**
   * @param {object} request `offer` (SDP), and who calls
   * @param {AbortSignal} signal
   * @returns {Promise<Reply>}
   * @throws {ConnectError}
   */
  async call(request, signal) {
    return this.#told("bridge", { method: "POST", body: JSON.stringify(request), signal });
  }

  /**
   * @param {string} session
   * @param {string} token
   * @param {string[]} candidates "" says that there are no more
   * @throws {ConnectError}
   */
  async trickle(session, token, candidates) {
    await this.#ask(session, { method: "PATCH", body: JSON.stringify({ candidates }), token });
  }

  /**
   * Hang up; also from a page that is going away.
   * @param {string} session
   * @param {string} token
   * @throws {ConnectError}
   */
  async hangUp(session, token) {
    await this.#ask(session, { method: "DELETE", keepalive: true, token });
  }

  /**
   * What the gateway says to this. An answer may be lost in the middle, too.
   * @param {string} path
   * @param {RequestInit} request
   */
  async #told(path, request) {
    const response = await this.#ask(path, request);
    try {
      return await response.json();
    } catch (error) {
      throw new ConnectError(problem("unreachable", true), { cause: error });
    }
  }

  /**
   * @param {string} path
   * @param {RequestInit & {token?: string}} request
   */
  async #ask(path, { token, ...request }) {
    /** @type {Record<string, string>} */
    const headers = request.body ? { "content-type": "application/json" } : {};
    if (token) headers.authorization = `Bearer ${token}`;
    let response;
    try {
      response = await fetch(new URL(PATH + path, this.#gateway), { ...request, headers, cache: "no-store" });
    } catch (error) {
      throw new ConnectError(problem("unreachable", true), { cause: error });
    }
    if (!response.ok) throw await refusal(response);
    return response;
  }
}

/** @param {Response} response */
async function refusal(response) {
  const plain = problem(response.status >= 500 ? "server_failed" : "bad_input", true);
  try {
    const { code = plain.code, message = plain.message, hint = plain.hint } = await response.json();
    return new Refused({ code, message, hint, fatal: true }, response.status);
  } catch {
    return new Refused(plain, response.status); // a proxy's page, not the gateway's words
  }
}
