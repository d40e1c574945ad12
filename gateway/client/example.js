import { TrunklineClient } from "./trunkline-client.js";

const client = new TrunklineClient(); // elsewhere: import it from your gateway, it calls where it came from
const show = (text) => document.querySelector("#words").append(Object.assign(document.createElement("li"), { textContent: text }));
client.addEventListener("transcript", ({ detail }) => show(`${detail.role}: ${detail.text}`));
client.addEventListener("problem", ({ detail }) => show(`${detail.message} ${detail.hint}`));
client.addEventListener("status", ({ detail }) => (document.title = detail));
document.querySelector("#talk").onclick = async () => {
  if (client.status !== "idle" && client.status !== "closed") return client.disconnect();
  await client.connect().catch(({ problem }) => show(`${problem.message} ${problem.hint}`));
};
