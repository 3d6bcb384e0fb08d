// One delivery.

import { $, addVisible, bytes, clock, date, duration, get, h, icon, post, sentence, toast, visible } from "./dom.js";
import { badge, status } from "./list.js";
import { pretty, tokens } from "./json.js";
import { byID } from "./store.js";

const maxPieces = 20000; // larger bodies are shown without colours
const maxShown = 1 << 20; // characters
let shown; // what the command said of it
let loading, go = () => {};

export const detail = { get record() { return shown; }, get isOpen() { return !$("detail").hidden; } };

export function start(handlers) {
  go = handlers.go;
  for (const [id, raw] of [["b-pretty", false], ["b-raw", true]]) {
    $(id).addEventListener("click", () => {
      $("b-pretty").setAttribute("aria-pressed", !raw);
      $("b-raw").setAttribute("aria-pressed", raw);
      drawBody();
    });
  }
  $("a-replay").addEventListener("click", () => replay(shown));
  $("a-duplicate").addEventListener("click", () => act(shown, "duplicate", "Sent again as it came"));
  $("a-tamper").addEventListener("click", () => act(shown, "tamper", "Sent with one byte changed"));
  $("a-curl").addEventListener("click", () => copy("curl", "Copied as curl, with the recorded signature"));
  $("a-test").addEventListener("click", () => copy("test", "Copied as a Go test"));
}

const path = (id) => "/api/records/" + encodeURIComponent(id);

export async function act(item, action, said) {
  if (!item) return;
  try {
    const answer = await post(`${path(item.id)}/${action}`);
    toast(said, { action: answer.id && { label: "Show it", run: () => go(answer.id) } });
  } catch (error) {
    toast(sentence(error.message), { error: true });
  }
}

export const replay = (item) => act(item, "replay", "Replayed, signed anew");

async function copy(what, said) {
  const text = get(`${path(shown.id)}/${what}`).then((answer) => answer.text);
  try { // the browser has to see the click, so it gets the promise
    await navigator.clipboard.write([new ClipboardItem({ "text/plain": text.then((t) => new Blob([t], { type: "text/plain" })) })]);
    toast(said);
  } catch {
    try {
      $("text-body").value = await text;
      $("text-dialog").showModal();
      $("text-body").select();
    } catch (error) {
      toast(sentence(error.message), { error: true });
    }
  }
}

// load asks for a delivery and shows it; null if it can't be had. What is shown already is only brought up to date.
export async function load(id) {
  loading?.abort();
  loading = new AbortController();
  try {
    const record = await get(path(id), loading.signal);
    const same = shown?.id === record.id;
    shown = record;
    draw(same);
    return record;
  } catch (error) {
    if (error.name !== "AbortError") toast(sentence(error.message), { error: true });
    return null;
  }
}

export function close() {
  loading?.abort();
  shown = undefined;
  $("detail").hidden = true;
  $("split").classList.remove("open");
}

function draw(same) {
  const d = shown;
  $("detail").hidden = false;
  $("split").classList.add("open");
  $("d-title").textContent = visible(d.event) || "(no event name)";
  $("d-badges").replaceChildren(badge(d.verdict), d.duplicate ? h("span", { class: "badge plain" }, icon("duplicate"), "duplicate") : "");
  drawVerdict(d);
  drawFacts(d);
  drawService(d);
  drawSame(d);
  for (const id of ["a-replay", "a-edit", "a-duplicate", "a-tamper", "a-curl", "a-test"]) $(id).disabled = d.omitted;
  $("a-download").hidden = $("d-body-download").hidden = d.omitted;
  $("a-download").href = path(d.id) + (d.bodyBase64 ? "/body" : "/event");
  $("d-body-download").href = path(d.id) + "/body";
  if (same) return; // its bytes don't change
  drawBody();
  $("d-headers").replaceChildren(...d.headers.map(([name, value]) => h("div", {}, h("dt", {}, visible(name)), h("dd", {}, visible(value)))));
  $("d-scroll").scrollTop = 0;
}

const explained = {
  verified: "The signature matches: the body is as it was sent.",
  forged: "The signature does not match the body.",
  unsigned: "There is no signature. Anybody may have sent this.",
  malformed: "It can't be read.",
  refused: "It was not accepted.",
};

function drawVerdict(d) {
  const findings = d.findings ?? [];
  const unknown = d.verdict === "forged" && !findings.length;
  $("d-verdict").className = "verdict v-" + d.verdict;
  $("d-verdict").replaceChildren(
    icon(d.verdict),
    h("div", {},
      h("p", { class: "verdict-line" }, explained[d.verdict]),
      findings.length === 1 ? h("p", {}, sentence(visible(findings[0]))) : findings.length ? h("ul", {}, ...findings.map((f) => h("li", {}, sentence(visible(f))))) : "",
      unknown ? h("p", {}, "Nothing that usually goes wrong explains it: it was signed with another secret, or it is another body.") : ""));
}

function fact(name, ...value) {
  return h("div", {}, h("dt", {}, name), h("dd", {}, ...value));
}

function drawFacts(d) {
  $("d-facts").replaceChildren(
    fact("__id", h("span", { class: "mono" }, visible(d.eventId) || "–"), d.eventId ? h("span", { class: "note" }, d.duplicate ? "came before" : "first") : ""),
    fact("Tenant", visible(d.tenant) || "–"),
    fact("Received", `${date(d.time)} `, h("span", { class: "strong" }, clock(d.time))),
    fact("Delivery", h("span", { class: "mono" }, visible(d.id))));
}

function drawService(d) {
  if (!d.forwardUrl && !d.status && !d.error) {
    $("d-service").replaceChildren(h("p", { class: "note" }, "Not forwarded."));
    return;
  }
  const line = h("p", { class: "answered" });
  if (d.status) line.append("Answered ", status(d), ` in ${duration(d.durationMs)}${d.answer ? "" : ", without a body"}`);
  else line.append(status(d), d.error ? "" : "Waiting for its answer");
  if (d.error) line.append(h("span", {}, sentence(visible(d.error))));
  line.append(h("span", { class: "mono note target" }, icon("arrow"), visible(d.forwardUrl)));
  const text = h("pre", { class: "code short", tabindex: "0", role: "region", "aria-label": "Answer" });
  addVisible(text, d.answer.slice(0, maxShown));
  $("d-service").replaceChildren(line, d.answer ? text : "");
}

function drawSame(d) {
  const same = d.same ?? [];
  $("d-same-section").hidden = !same.length;
  $("d-same").replaceChildren(...same.map((other) => h("li", {},
    h("button", { type: "button", class: "link", onclick: () => go(other.id) }, clock(other.time)),
    badge(other.verdict), status(other))));
}

const fromBase64 = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

function dump(data) {
  const lines = [];
  for (let i = 0; i < Math.min(data.length, 16384); i += 16) {
    const part = [...data.subarray(i, i + 16)];
    lines.push(i.toString(16).padStart(6, "0") + "  " + part.map((b) => b.toString(16).padStart(2, "0")).join(" ").padEnd(47) + "  " +
      part.map((b) => b > 31 && b < 127 ? String.fromCharCode(b) : ".").join(""));
  }
  return lines.join("\n") + (data.length > 16384 ? `\n… ${bytes(data.length - 16384)} more` : "");
}

function drawBody() {
  const d = shown, out = $("d-body"), raw = $("b-raw").getAttribute("aria-pressed") === "true";
  const say = (note) => { $("d-body-note").textContent = note; };
  out.replaceChildren();
  say(bytes(d.size));
  if (d.omitted) return say("too large to keep");
  if (d.bodyBase64) {
    out.textContent = dump(fromBase64(d.bodyBase64));
    return say(`${bytes(d.size)}, not text`);
  }
  if (!d.body) return say("empty");
  if (d.body.length > maxShown) {
    say(`${bytes(d.size)}, of which this is the beginning`);
    return addVisible(out, d.body.slice(0, maxShown));
  }
  if (raw) return addVisible(out, d.body);
  const list = tokens(d.body);
  if (!list) {
    say(`${bytes(d.size)}, not JSON`);
    return addVisible(out, d.body);
  }
  const pieces = pretty(list);
  if (!pieces) {
    say(`${bytes(d.size)}, too deep to indent`);
    return addVisible(out, d.body);
  }
  if (pieces.length > maxPieces) return addVisible(out, pieces.map((p) => p.text).join(""));
  for (const piece of pieces) {
    const kind = piece.kind === "key" && piece.text.startsWith('"__') ? "meta" : piece.kind;
    addVisible(out, piece.text, kind);
  }
}

// update loads the delivery that is open anew if it has changed.
export function update(changed) {
  if (shown && changed.includes(byID.get(shown.id))) load(shown.id);
}
