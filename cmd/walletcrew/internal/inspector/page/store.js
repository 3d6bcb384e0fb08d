// What the page knows: the rows of all deliveries that the command holds, kept up to date by its event stream.

import { get, settings } from "./dom.js";

export const verdicts = ["verified", "forged", "unsigned", "malformed", "refused"];

export const items = []; // the oldest first
const bySeq = new Map();
export const byID = new Map();
const listeners = [];

// onChange calls f(added, changed) after each message of the stream.
export const onChange = (f) => listeners.push(f);

function take(message) {
  const added = [], changed = [];
  for (const item of message.items) {
    if (!verdicts.includes(item.verdict)) item.verdict = "refused";
    item.text = [item.event, item.tenant, item.eventId, item.id, item.verdict, item.status || ""].join("\n").toLowerCase();
    const known = bySeq.get(item.seq);
    if (known) {
      Object.assign(known, item);
      known.version++;
      changed.push(known);
      continue;
    }
    item.version = 0;
    bySeq.set(item.seq, item);
    byID.set(item.id, item);
    items.push(item);
    added.push(item);
  }
  let gone = 0;
  while (gone < items.length && items[gone].seq < message.oldest) {
    bySeq.delete(items[gone].seq);
    byID.delete(items[gone].id);
    gone++;
  }
  items.splice(0, gone);
  for (const f of listeners) f(added, changed);
}

let source, last = "";

// connect keeps a stream open while the page can be seen: a browser has only six connections for all its tabs of this address.
export function connect(onState, onOther) {
  const open = () => {
    onState("wait");
    source = new EventSource("/api/stream?after=" + encodeURIComponent(last));
    source.onopen = () => onState("live");
    source.onerror = () => {
      onState("lost");
      if (source.readyState === EventSource.CLOSED) { // refused: a browser doesn't try again by itself
        source = undefined;
        setTimeout(() => { if (!source && !document.hidden) open(); }, 2000);
      }
    };
    source.onmessage = (event) => {
      const message = JSON.parse(event.data);
      if (message.instance !== settings.instance) {
        source.close();
        onOther();
        return;
      }
      last = event.lastEventId || last;
      take(message);
    };
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      source?.close();
      source = undefined;
    } else if (!source) {
      open();
    }
  });
  open();
}

// A Filter says which deliveries are in view.
export const filter = { text: "", event: "", verdicts: new Set(), bodies: new Set() };

export function matches(item) {
  if (filter.event && item.event !== filter.event) return false;
  if (filter.verdicts.size && !filter.verdicts.has(item.verdict)) return false;
  return !filter.text || item.text.includes(filter.text) || filter.bodies.has(item.seq);
}

let searching;

// searchBodies asks the command, which holds the bodies. It resolves to false if a newer search has taken its place.
export async function searchBodies() {
  searching?.abort();
  searching = new AbortController();
  const { signal } = searching, text = filter.text;
  if (!text) {
    filter.bodies = new Set();
    return true;
  }
  try {
    const answer = await get("/api/search?q=" + encodeURIComponent(text), signal);
    filter.bodies = new Set(answer.seqs);
    return true;
  } catch {
    return false;
  }
}
