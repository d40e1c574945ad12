/** What the page shows: transcript, latency, who answers, problems. Knows the document, knows no client. */

import { byId, element } from "./dom.js";

const WHO = { user: "You", assistant: "Trunkline" };
const CLOSE_ENOUGH_PX = 80; // scrolled up further than this, the reader is left alone

/** Both sides' words, as they come. */
export class TranscriptView {
  #list = byId("transcript");
  #scroll = byId("scroll");
  #spoken = byId("spoken");
  #entries = new Map(); // "role turn" -> {item, text}
  #typed = []; // shown at once, adopted when the server repeats it

  constructor() {
    new ResizeObserver(() => this.#follow()).observe(this.#scroll); // a problem above takes room from it
  }

  clear() {
    this.#list.replaceChildren();
    this.#entries.clear();
    this.#typed = [];
    byId("empty").hidden = false;
  }

  /** Another session begins below what is there: its turns are counted from the start again. @param {string} text says so */
  restart(text) {
    this.settle();
    this.#entries.clear();
    this.#typed = [];
    this.note(text);
  }

  /** @param {{role: string, turn: number, delta: string}} message */
  delta({ role, turn, delta }) {
    const entry = this.#entry(role, turn);
    entry.text += delta;
    this.#write(entry, true);
  }

  /** @param {{role: string, turn: number, text: string, interrupted?: boolean}} message */
  final({ role, turn, text, interrupted }) {
    const key = `${role} ${turn}`;
    const typed = role === "user" && !this.#entries.has(key) ? this.#typed.findIndex((entry) => entry.text === text) : -1;
    if (typed >= 0) this.#entries.set(key, this.#typed.splice(typed, 1)[0]);
    const known = this.#entries.has(key);
    if (!text && !interrupted && !known) return; // nothing was understood, and nothing shown
    const entry = this.#entry(role, turn);
    entry.text = text;
    this.#write(entry, false);
    if (interrupted && !entry.item.querySelector(".cut")) entry.item.append(element("span", "cut", "interrupted"));
    this.#announce(`${WHO[role] ?? role}: ${text}${interrupted ? " (interrupted)" : ""}`);
  }

  /** @param {string} text that the user has typed and sent */
  typed(text) {
    const entry = this.#add("user");
    entry.item.classList.add("typed");
    entry.text = text;
    this.#typed.push(entry);
    this.#write(entry, false);
  }

  /** @param {string} text that belongs to neither side */
  note(text) {
    this.#put(element("li", "note", text));
  }

  /** @param {import("../client/trunkline-client.js").ToolResult} result */
  tool({ tool, ok, ms }) {
    const item = element("li", ok ? "note tool" : "note tool failed");
    item.append(element("code", "", tool), ok ? ` took ${milliseconds(ms)}` : ` failed after ${milliseconds(ms)}`);
    this.#put(item);
  }

  /** The server will not say the final words of what is half written. */
  settle() {
    for (const { item } of this.#entries.values()) item.classList.remove("growing");
  }

  #put(item) {
    byId("empty").hidden = true;
    this.#list.append(item);
    this.#follow();
  }

  #entry(role, turn) {
    const key = `${role} ${turn}`;
    if (!this.#entries.has(key)) this.#entries.set(key, this.#add(role));
    return this.#entries.get(key);
  }

  #add(role) {
    byId("empty").hidden = true;
    const item = element("li", role === "user" ? "user" : "assistant");
    item.append(element("span", "who", WHO[role] ?? role), element("p", ""));
    this.#list.append(item);
    return { item, text: "" };
  }

  #write({ item, text }, growing) {
    item.querySelector("p").textContent = text || "…";
    item.classList.toggle("growing", growing);
    this.#follow();
  }

  #follow() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroll;
    const last = this.#list.lastElementChild?.offsetHeight ?? 0;
    if (scrollHeight - scrollTop - clientHeight < CLOSE_ENOUGH_PX + last) this.#scroll.scrollTop = scrollHeight;
  }

  #announce(text) {
    this.#spoken.append(element("p", "", text));
    while (this.#spoken.childElementCount > 3) this.#spoken.firstElementChild.remove();
  }
}

const inWords = (name) => name.replaceAll("_", " ");
const milliseconds = (ms) => `${Math.round(ms)} ms`;

/** @param {{total_ms: number, parts: [string, number][]}} message */
export function showLatency(message) {
  showParts("latency", message);
}

/**
 * A figure, and the parts that it is the sum of as a bar.
 * @param {string} name of the elements' ids before -total, -bar and -parts
 * @param {{total_ms: number, parts: [string, number][]}} whole
 */
export function showParts(name, { total_ms: total, parts }) {
  const figure = byId(`${name}-total`);
  delete figure.dataset.empty;
  figure.replaceChildren(String(Math.round(total)), element("small", "", "ms"));
  const shown = parts.map(([part, ms], i) => ({ part, ms, colour: `part-${i % 8}` })).filter(({ ms }) => ms > 0);
  byId(`${name}-bar`).replaceChildren(
    ...shown.map(({ ms, colour }) => {
      const segment = element("span", colour);
      segment.style.flexGrow = String(ms);
      return segment;
    }),
  );
  byId(`${name}-parts`).replaceChildren(
    ...shown.map(({ part, ms, colour }) => {
      const row = element("li", "");
      row.append(element("i", colour), element("span", "", inWords(part)), element("b", "", milliseconds(ms)));
      return row;
    }),
  );
}

const STAGES = { stt: "Hears", llm: "Thinks", tts: "Speaks", model: "Model" };

let shownBackend; // it is said again by every worker that takes over: what the reader has opened stays open

/** @param {{backend: string, providers?: Record<string, string>}} message */
export function showBackend({ backend, providers = {} }) {
  const said = JSON.stringify([backend, providers]);
  if (said === shownBackend) return;
  shownBackend = said;
  const stages = Object.entries(providers).filter(([, who]) => who);
  byId("backend").replaceChildren(
    ...row("Backend", backend),
    ...stages.flatMap(([stage, who]) => row(STAGES[stage] ?? inWords(stage), provider(who))),
  );
}

function row(name, who) {
  const cell = element("dd", "");
  cell.append(who);
  return [element("dt", "", name), cell];
}

/** A provider's short name; what else it says of itself opens below. @param {string} description "name: more [why it was chosen]" */
function provider(description) {
  const [, words, why] = /^(.*?)(?: \[(.*)\])?$/s.exec(description);
  const [name, ...more] = words.split(": ");
  const paragraphs = [more.join(": "), why].filter(Boolean);
  if (paragraphs.length === 0) return name;
  const details = element("details", "");
  details.append(element("summary", "", name), ...paragraphs.map((text) => element("p", "", text)));
  return details;
}

/**
 * @param {import("../client/problems.js").Problem | null} problem null hides it
 * @param {{label: string, run: () => void}} [remedy] one more button
 */
export function showProblem(problem, remedy) {
  const box = byId("problem");
  box.hidden = problem === null;
  box.replaceChildren();
  if (problem === null) return;
  box.dataset.code = problem.code;
  box.classList.toggle("mild", !problem.fatal);
  const text = element("div", "problem-text");
  text.append(element("strong", "", problem.message));
  if (problem.hint) text.append(element("p", "", problem.hint));
  const buttons = element("div", "problem-buttons");
  if (remedy) buttons.append(button(remedy.label, remedy.run));
  buttons.append(button("Dismiss", () => showProblem(null)));
  box.append(text, buttons);
}

function button(label, run) {
  const node = element("button", "", label);
  node.type = "button";
  node.addEventListener("click", run);
  return node;
}
