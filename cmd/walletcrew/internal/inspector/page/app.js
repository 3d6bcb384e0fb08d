import { $, get, h, icon, number, post, sentence, settings, toast, visible } from "./dom.js";
import { byID, connect, filter, items, onChange, searchBodies, verdicts } from "./store.js";
import * as rows from "./list.js";
import * as detail from "./detail.js";
import * as editor from "./editor.js";
import * as plot from "./plot.js";
import * as webhooks from "./webhooks.js";

const { list } = rows;

// Pages and addresses: #/, #/webhooks, #/delivery/ID.

function route() {
  const [, page, id] = location.hash.split("/");
  const onWebhooks = page === "webhooks";
  $("webhooks").hidden = !onWebhooks;
  $("deliveries").hidden = onWebhooks;
  for (const [link, current] of [["to-webhooks", onWebhooks], ["to-deliveries", !onWebhooks]]) {
    if (current) $(link).setAttribute("aria-current", "page");
    else $(link).removeAttribute("aria-current");
  }
  if (onWebhooks) {
    webhooks.load();
    return;
  }
  if (page === "delivery" && id) open(decode(id), { replace: false });
  else if (detail.detail.isOpen) shut();
  rows.refresh();
  plot.later();
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

const address = (id) => "#/delivery/" + encodeURIComponent(id);

async function open(id, { replace = true, focus = false } = {}) {
  if (replace) history.replaceState(null, "", address(id));
  const item = byID.get(id);
  if (item && list.selected !== item) rows.select(item, { quiet: true });
  const record = await detail.load(id);
  if (record && focus) $("d-title").focus();
  if (!record && items.length && !byID.has(id) && location.hash === address(id)) shut();
}

function shut() {
  const inside = $("detail").contains(document.activeElement);
  detail.close();
  history.replaceState(null, "", "#/");
  if (inside) $("grid").focus({ preventScroll: true });
}

// go shows a delivery that an action has made; it may not be in the list yet.
function go(id) {
  if (byID.has(id) && !list.view.includes(byID.get(id))) clearFilter();
  open(id);
}

// The filter.

let counting;

function applyFilter() {
  rows.refresh({ keep: false });
  tell();
  clearTimeout(counting);
  counting = setTimeout(() => { $("announce").textContent = `${list.view.length} of ${items.length} deliveries shown`; }, 800);
}

let typing;

function typed() {
  filter.text = $("search").value.trim().toLowerCase();
  applyFilter();
  clearTimeout(typing);
  typing = setTimeout(moreMatches, filter.text ? 120 : 0); // the bodies are with the command
}

async function moreMatches() {
  if (!await searchBodies()) return;
  rows.refresh();
  tell();
}

function clearFilter() {
  $("search").value = $("event").value = filter.event = "";
  filter.verdicts.clear();
  for (const chip of $("verdicts").children) chip.setAttribute("aria-pressed", "false");
  typed();
}

function makeChips() {
  for (const verdict of verdicts) {
    $("verdicts").append(h("button", {
      type: "button", class: "chip v-" + verdict, "aria-pressed": "false", "data-verdict": verdict,
      onclick: (event) => {
        const on = !filter.verdicts.has(verdict);
        if (on) filter.verdicts.add(verdict);
        else filter.verdicts.delete(verdict);
        event.currentTarget.setAttribute("aria-pressed", on);
        applyFilter();
      },
    }, icon(verdict), verdict, h("span", { class: "n" }, "0")));
  }
}

const known = new Set();

function addEvents(added) {
  const names = new Set(added.map((item) => item.event).filter((name) => name && !known.has(name)));
  for (const name of names) {
    if (known.size >= 200) return; // a sender can't fill the menu
    known.add(name);
    const option = h("option", { value: name }, visible(name));
    const after = [...$("event").options].slice(1).find((o) => o.value > name);
    $("event").insertBefore(option, after ?? null);
  }
}

// tell brings the counts and the empty states up to date.
function tell() {
  const counts = {};
  for (const item of items) counts[item.verdict] = (counts[item.verdict] ?? 0) + 1;
  for (const chip of $("verdicts").children) chip.querySelector(".n").textContent = number.format(counts[chip.dataset.verdict] ?? 0);
  const shown = list.view.length, all = items.length;
  $("count").textContent = rows.filtered() ? `${number.format(shown)} of ${number.format(all)}` : `${number.format(all)} ${all === 1 ? "delivery" : "deliveries"}`;
  $("count").title = all >= settings.max ? `Only the latest ${number.format(settings.max)} are kept` : "";
  const state = shown ? "" : all ? "filtered" : "waiting";
  if ($("empty").dataset.state === state) return;
  $("empty").dataset.state = state;
  $("empty").hidden = !state;
  if (state === "filtered") $("empty").replaceChildren(...noMatch());
  if (state === "waiting") $("empty").replaceChildren(...waiting());
}

function noMatch() {
  return [h("h2", {}, "No delivery matches"), h("p", {}, "The filter leaves none of them."),
    h("button", { type: "button", onclick: () => { clearFilter(); $("search").focus(); } }, "Clear the filter")];
}

function command(text) {
  return h("p", { class: "command" }, h("code", {}, text), h("button", {
    type: "button", class: "icon", "aria-label": "Copy: " + text,
    onclick: () => navigator.clipboard.writeText(text).then(() => toast("Copied"), () => toast("The browser doesn't let the page copy", { error: true })),
  }, icon("copy")));
}

function waiting() {
  const event = settings.events.find((name) => name === "Pass:Installed") ?? settings.events[0] ?? "Pass:Installed", dev = settings.mode === "dev";
  const steps = [];
  if (dev) {
    steps.push(h("li", { class: "with-button" }, h("p", {}, "Send yourself one: ", h("button", { type: "button", class: "primary", onclick: () => sendSample(event) }, "Send a sample"))),
      h("li", {}, h("p", {}, "Or from a terminal:"), command(`walletcrew trigger ${event}`)));
  } else {
    steps.push(h("li", {}, h("p", {}, "Do something that sends an event, such as installing a pass.")),
      h("li", {}, h("p", {}, "Or send yourself a sample from a terminal:"), command(`walletcrew trigger ${event} --to ${settings.endpoint || "URL"}`)));
  }
  if (settings.endpoint) steps.push(h("li", {}, h("p", {}, "Deliveries come in at ", h("code", {}, settings.endpoint), ".")));
  steps.push(h("li", {}, settings.forwardTo
    ? h("p", {}, "Each is passed on to ", h("code", {}, settings.forwardTo), ", and you see here what it answers.")
    : h("p", {}, "Deliveries are only shown. To pass them on, start with ", h("code", {}, `walletcrew ${settings.mode} --forward-to http://localhost:8080/webhooks`))));
  return [h("h2", {}, "Waiting for the first delivery"), h("ul", {}, ...steps)];
}

async function sendSample(event) {
  try {
    const { body } = await get("/api/sample?event=" + encodeURIComponent(event));
    const answer = await post("/api/send", { event, tenant: settings.tenant, body, sign: "", fromID: "" });
    if (answer.id) go(answer.id);
  } catch (error) {
    toast(sentence(error.message), { error: true });
  }
}

// A screen reader hears of new deliveries, but not of each.

let unheard = [], speaking;

function announce(added) {
  unheard.push(...added.map((item) => item.verdict));
  speaking ??= setTimeout(() => {
    const bad = verdicts.slice(1).map((v) => [v, unheard.filter((u) => u === v).length]).filter(([, n]) => n);
    $("announce").textContent = unheard.length === 1 ? `New delivery, ${unheard[0]}` : `${unheard.length} new deliveries` + bad.map(([v, n]) => `, ${n} ${v}`).join("");
    unheard = [];
    speaking = undefined;
  }, 3000);
}

// Keys.

const typingIn = (e) => e.closest("input, textarea, select, dialog") !== null;

function key(event) {
  const { target } = event, field = typingIn(target), modal = document.querySelector("dialog[open]");
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || modal) return;
  if (event.key === "Escape") return escape(event);
  if (field && target === $("search") && (event.key === "Enter" || event.key === "ArrowDown")) {
    event.preventDefault();
    $("grid").focus({ preventScroll: true });
    if (!list.view.includes(list.selected)) rows.move(1);
    return;
  }
  if (field) return;
  if ($("deliveries").hidden) {
    if (event.key === "?") help(event);
    return;
  }
  const inList = target === $("grid") || target === document.body;
  const run = {
    j: () => rows.move(1), k: () => rows.move(-1), "/": () => $("search").select(), "?": help,
    r: () => !event.repeat && detail.replay(list.selected), e: () => editSelected(),
    ...(inList && {
      ArrowDown: () => rows.move(1), ArrowUp: () => rows.move(-1), PageDown: () => rows.movePage(1), PageUp: () => rows.movePage(-1),
      Home: () => rows.move(-Infinity), End: () => rows.move(Infinity),
      Enter: () => list.selected && open(list.selected.id, { focus: true }),
    }),
  }[event.key];
  if (!run) return;
  event.preventDefault();
  run(event);
}

function escape(event) {
  if (event.target === $("search") && $("search").value) {
    $("search").value = "";
    typed();
  } else if (detail.detail.isOpen) {
    shut();
    $("grid").focus({ preventScroll: true });
  } else if (rows.filtered()) {
    clearFilter();
  }
}

const help = () => $("help-dialog").showModal();

async function editSelected() {
  const { selected } = list;
  if (!selected) return;
  let { record } = detail.detail;
  if (record?.id !== selected.id) record = await get("/api/records/" + encodeURIComponent(selected.id)).catch(() => undefined);
  if (record && !record.omitted) editor.edit(record);
}

// The theme: the button goes to the other one, and back to the system's.

const dark = matchMedia("(prefers-color-scheme: dark)");

function theme() {
  const is = document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light");
  $("theme").setAttribute("aria-pressed", is === "dark");
  return is;
}

function toggleTheme() {
  const to = theme() === "dark" ? "light" : "dark", system = dark.matches ? "dark" : "light";
  if (to === system) delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = to;
  try {
    if (to === system) localStorage.removeItem("walletcrew-theme");
    else localStorage.setItem("walletcrew-theme", to);
  } catch { /* no storage */ }
  theme();
}

// Start.

$("where").textContent = settings.forwardTo ? "Forwards to " + settings.forwardTo : settings.endpoint ? "Receives at " + settings.endpoint : "";
$("where").title = $("where").textContent;
if (innerHeight < 620 || innerWidth < 760) $("plots").open = false;
makeChips();
theme();
dark.addEventListener("change", theme);
$("theme").addEventListener("click", toggleTheme);
$("help").addEventListener("click", help);
$("new").addEventListener("click", () => editor.create());
$("search").addEventListener("input", typed);
$("event").addEventListener("change", () => { filter.event = $("event").value; applyFilter(); });
$("d-close").addEventListener("click", () => { shut(); $("grid").focus({ preventScroll: true }); });
$("a-edit").addEventListener("click", editSelected);
document.addEventListener("keydown", key);
window.addEventListener("hashchange", route);

rows.start({
  onOpen: (item) => open(item.id),
  onSelect: (item) => { if (item && detail.detail.isOpen) open(item.id); },
});
detail.start({ go });
editor.start({ go });
webhooks.start();
plot.start();

let told = false, again;

onChange((added, changed) => {
  const now = Date.now();
  if (told) for (const item of added) item.shown = now;
  addEvents(added);
  rows.refresh();
  detail.update(changed);
  tell();
  plot.later();
  if (told && added.length) announce(added);
  if (!told && location.hash.startsWith("#/delivery/")) route();
  told = true;
  if (filter.text && added.length) again ??= setTimeout(() => { again = undefined; moreMatches(); }, 1000);
});

const states = { live: "Live", wait: "Connecting", lost: "Disconnected: is the command still running?" };

connect(
  (state) => {
    if ($("live").dataset.state === state) return;
    $("live").dataset.state = state;
    $("live-text").textContent = states[state];
  },
  () => { // the command was started anew: so is the page, unless something is being written
    const reload = () => location.reload();
    if ($("editor").open) {
      $("editor").addEventListener("close", reload, { once: true });
      toast("The command was started again: the page loads anew when you close this.", { error: true });
    } else reload();
  });
if (!location.hash.startsWith("#/delivery/")) route();
