// The form for a new delivery, or for one that is changed and sent again.

import { $, bytes, get, h, post, sentence, settings, toast } from "./dom.js";
import { format, tokens, withID } from "./json.js";

let from, untouched, go = () => {};
let asked = 0; // for a sample

export function start(handlers) {
  go = handlers.go;
  $("e-events").append(...settings.events.map((name) => h("option", { value: name })));
  $("e-body").addEventListener("input", () => { untouched = false; tell(); });
  $("e-event").addEventListener("change", () => { if (!from && untouched) sample(); });
  $("e-format").addEventListener("click", () => set(format($("e-body").value)));
  $("e-id").addEventListener("click", () => {
    const text = withID($("e-body").value, crypto.randomUUID());
    if (text === null) $("e-error").textContent = 'The body has no "__id" that is a string.';
    else set(text);
  });
  $("e-cancel").addEventListener("click", () => $("editor").close());
  $("e-form").addEventListener("submit", (event) => { event.preventDefault(); send(); });
  $("editor").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); send(); }
  });
}

function set(text) {
  $("e-body").value = text;
  tell();
}

function tell() {
  const text = $("e-body").value, size = bytes(new TextEncoder().encode(text).length);
  $("e-note").textContent = tokens(text) ? `JSON, ${size}` : `not JSON, ${size}`;
  $("e-note").classList.toggle("warn", !tokens(text));
  $("e-error").textContent = "";
}

function open(title) {
  $("e-title").textContent = title;
  $("e-sign").value = "";
  $("e-send").disabled = false;
  tell();
  $("editor").showModal();
}

// edit opens the form with a delivery. It gets a new "__id", since with the old one your service takes it for a duplicate.
export function edit(record) {
  if (record.bodyBase64) return toast("The body isn't text, and can't be edited here.", { error: true });
  from = record.id;
  untouched = false;
  $("e-event").value = record.event;
  $("e-tenant").value = record.tenant;
  $("e-body").value = format(withID(record.body, crypto.randomUUID()) ?? record.body);
  open("Edit and send");
  $("e-body").focus();
  $("e-body").setSelectionRange(0, 0);
  $("e-body").scrollTop = 0;
}

export function create(event = settings.events[0] ?? "") {
  from = "";
  untouched = true;
  $("e-event").value = event;
  $("e-tenant").value = settings.tenant;
  $("e-body").value = "";
  sample();
  open("New delivery");
}

async function sample() {
  const mine = ++asked;
  try {
    const { body } = await get("/api/sample?event=" + encodeURIComponent($("e-event").value));
    if (mine === asked && untouched) set(format(body));
  } catch (error) {
    $("e-error").textContent = sentence(error.message);
  }
}

async function send() {
  if ($("e-send").disabled) return;
  $("e-send").disabled = true;
  try {
    const answer = await post("/api/send", {
      event: $("e-event").value.trim(), tenant: $("e-tenant").value.trim(), body: $("e-body").value, sign: $("e-sign").value, fromID: from,
    });
    $("editor").close();
    toast("Sent", { action: answer.id && { label: "Show it", run: () => go(answer.id) } });
  } catch (error) {
    $("e-error").textContent = sentence(error.message);
  } finally {
    $("e-send").disabled = false;
  }
}
