/** What the user picks: the connection, the microphone, the speaker. Remembered until another is picked. */
import { TrunklineClient } from "../client/trunkline-client.js";
import { byId } from "./dom.js";
import { recall, remember } from "./remembered.js";

export class Choices {
  #client;
  #report;
  #radios = /** @type {HTMLInputElement[]} */ ([...document.querySelectorAll("input[name=transport]")]);

  /**
   * @param {TrunklineClient} client
   * @param {(problem: import("../client/problems.js").Problem) => void} report
   */
  constructor(client, report) {
    this.#client = client;
    this.#report = report;
    this.#pick(recall("transport", "webrtc"));
    for (const radio of this.#radios) radio.addEventListener("change", () => remember("transport", this.transport));
    byId("microphone").addEventListener("change", () => this.#use("microphone", (id) => client.useMicrophone(id)));
    byId("loudspeaker").addEventListener("change", () => this.#use("loudspeaker", (id) => client.useSpeaker(id)));
    const refresh = () => this.refresh();
    navigator.mediaDevices?.addEventListener("devicechange", refresh);
    refresh();
  }

  /** @returns {"webrtc" | "websocket"} */
  get transport() {
    return /** @type {any} */ (this.#radios.find(({ checked }) => checked)?.value ?? "websocket");
  }

  set transport(transport) {
    this.#pick(transport);
    remember("transport", this.transport);
  }

  /** For `connect`. */
  get devices() {
    return { microphone: byId("microphone").value || true, speaker: byId("loudspeaker").value || undefined };
  }

  /** @param {boolean} running a conversation keeps its connection */
  set locked(running) {
    byId("transport").disabled = running;
  }

  /** List what there is. Browsers name devices only once the microphone was allowed. */
  async refresh() {
    const { microphones, speakers } = await TrunklineClient.devices();
    fill(byId("microphone"), microphones, recall("microphone", ""));
    fill(byId("loudspeaker"), speakers, recall("loudspeaker", ""));
  }

  /** @param {string} transport */
  #pick(transport) {
    const offered = globalThis.RTCPeerConnection ? transport : "websocket";
    for (const radio of this.#radios) {
      radio.checked = radio.value === offered;
      if (radio.value === "webrtc") radio.disabled = !globalThis.RTCPeerConnection;
    }
  }

  /**
   * @param {"microphone" | "loudspeaker"} which
   * @param {(deviceId: string) => Promise<void>} use
   */
  async #use(which, use) {
    const select = byId(which);
    try {
      await use(select.value);
      remember(which, select.value);
    } catch (error) {
      select.value = recall(which, "");
      this.#report({ ...error.problem, fatal: false });
    }
  }
}

/**
 * @param {HTMLSelectElement} select its first option is the browser's choice, and stays
 * @param {{id: string, label: string}[]} devices
 * @param {string} chosen
 */
function fill(select, devices, chosen) {
  const options = devices.map(({ id, label }) => new Option(label, id));
  select.replaceChildren(select.options[0], ...options);
  select.value = devices.some(({ id }) => id === chosen) ? chosen : "";
  select.disabled = devices.length === 0;
}
