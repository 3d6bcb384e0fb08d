// The list. Only the rows in view are in the document, so that 10,000 deliveries cost what 40 do.

import { $, clock, date, duration, h, icon, number, visible } from "./dom.js";
import { filter, items, matches } from "./store.js";

const height = 34; // of a row, in pixels; the style sheet has the same
const spare = 6; // rows above and below the view

const grid = $("grid"), body = $("rows");
let view = []; // the deliveries that match, the newest first
let selected; // the delivery itself, or undefined
let onOpen = () => {}, onSelect = () => {};
const pool = []; // {row, cells, item, version, index}

export const list = { get selected() { return selected; }, get view() { return view; } };

export function start(handlers) {
  ({ onOpen, onSelect } = handlers);
  grid.addEventListener("scroll", () => { draw(); }, { passive: true });
  measure();
  new ResizeObserver(() => {
    const keep = selected && matches(selected) && inView(find(selected.seq)); // with the room as it was
    measure();
    if (keep) reveal(find(selected.seq));
    draw();
  }).observe(grid);
  body.addEventListener("click", (event) => {
    const entry = pool.find((p) => p.row === event.target.closest("[role=row]"));
    if (!entry?.item) return;
    select(entry.item);
    grid.focus({ preventScroll: true });
    onOpen(entry.item);
  });
  $("fresh").addEventListener("click", () => { grid.scrollTop = 0; grid.focus({ preventScroll: true }); });
}

let room = 0; // for rows, in pixels

const measure = () => { room = grid.clientHeight - grid.querySelector(".head").offsetHeight; };
const rowsInView = () => Math.max(1, Math.floor(room / height));

// refresh computes the view anew. A reader who has scrolled down stays where he is.
export function refresh({ keep = true } = {}) {
  const top = grid.scrollTop, anchor = view[Math.floor(top / height)], offset = top % height;
  view = [];
  for (let i = items.length - 1; i >= 0; i--) if (matches(items[i])) view.push(items[i]);
  body.style.height = view.length * height + "px";
  grid.setAttribute("aria-rowcount", view.length + 1);
  if (!keep) grid.scrollTop = 0;
  else if (anchor && top >= height / 2) {
    const index = find(anchor.seq);
    if (index >= 0) grid.scrollTop = index * height + offset;
  }
  draw();
}

// find is the place of a delivery in the view, or that of the next older one.
function find(seq) {
  let low = 0, high = view.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (view[middle].seq > seq) low = middle + 1;
    else high = middle;
  }
  return low < view.length ? low : view.length - 1;
}

let newest = 0; // the newest delivery that was at the top of the view

function tellFresh(scrolled) {
  const top = scrolled < height;
  if (top) newest = view[0]?.seq ?? 0;
  let fresh = 0;
  while (!top && fresh < view.length && view[fresh].seq > newest) fresh++;
  $("fresh").hidden = fresh === 0;
  if (fresh) $("fresh-text").textContent = number.format(fresh) + " new";
}

function makeRow() {
  const cells = {};
  const row = h("div", { role: "row", class: "row" });
  for (const name of ["time", "event", "tenant", "id", "verdict", "status", "duration"]) {
    cells[name] = h("span", { role: "gridcell", class: "c-" + name });
    row.append(cells[name]);
  }
  const id = h("span", { class: "mono" }), twin = duplicate(), mark = badge("verified"), answer = h("span");
  cells.id.append(id, twin);
  cells.verdict.append(mark);
  cells.status.append(answer);
  const day = document.createTextNode(""), ms = h("span", { class: "ms" });
  cells.time.append(day, ms);
  body.append(row);
  return { row, cells, day, ms, id, twin, mark, answer, verdict: "verified", index: -1 };
}

// draw reads from the document first, and then only writes: each change of mind costs a layout.
function draw() {
  const scrolled = grid.scrollTop;
  tellFresh(scrolled);
  const first = Math.max(0, Math.floor(scrolled / height) - spare);
  const last = Math.min(view.length, first + rowsInView() + 2 * spare + 2);
  while (pool.length < last - first) pool.push(makeRow());
  const seen = new Set();
  for (let index = first; index < last; index++) {
    const entry = pool[index % pool.length];
    seen.add(entry);
    fill(entry, index, view[index]);
  }
  for (const entry of pool) {
    if (!seen.has(entry) && entry.index >= 0) {
      entry.index = -1;
      entry.item = undefined;
      entry.row.hidden = true;
      entry.row.removeAttribute("id");
      entry.row.removeAttribute("aria-selected");
    }
  }
  const here = selected && view[find(selected.seq)] === selected;
  if (here && pool.some((entry) => entry.item === selected)) grid.setAttribute("aria-activedescendant", "row-" + selected.seq);
  else grid.removeAttribute("aria-activedescendant");
}

function fill(entry, index, item) {
  const { row, cells } = entry;
  if (entry.index !== index) {
    entry.index = index;
    row.hidden = false;
    row.style.transform = `translateY(${index * height}px)`;
    row.setAttribute("aria-rowindex", index + 2);
    row.classList.toggle("odd", index % 2 === 1);
  }
  row.setAttribute("aria-selected", item === selected);
  if (entry.item === item && entry.version === item.version) return;
  row.classList.toggle("arrived", entry.item !== item && Date.now() - item.shown < 300);
  entry.item = item;
  entry.version = item.version;
  row.id = "row-" + item.seq;
  const time = clock(item.time), event = visible(item.event), tenant = visible(item.tenant), id = visible(item.eventId);
  entry.day.data = time.slice(0, 8);
  entry.ms.textContent = time.slice(8);
  cells.time.title = date(item.time);
  cells.event.textContent = event || "(no name)";
  cells.event.title = event;
  cells.tenant.textContent = cells.tenant.title = tenant;
  entry.id.textContent = id || "–";
  cells.id.title = id;
  entry.twin.hidden = !item.duplicate;
  if (entry.verdict !== item.verdict) { // an icon costs more than all the rest of a row
    const mark = badge(item.verdict);
    entry.mark.replaceWith(mark);
    entry.mark = mark;
    entry.verdict = item.verdict;
  }
  fillStatus(entry.answer, item);
  cells.duration.textContent = item.status ? duration(item.durationMs) : "–";
}

function duplicate() {
  return h("span", { class: "twin", title: "This __id came before" }, icon("duplicate"), h("span", { class: "hidden" }, "duplicate"));
}

export function badge(verdict) {
  return h("span", { class: "badge v-" + verdict }, icon(verdict), verdict);
}

function fillStatus(span, item) {
  const good = item.status >= 200 && item.status < 300;
  span.className = "status " + (good ? "good" : item.status || item.failed ? "bad" : "none");
  span.textContent = item.status ? String(item.status) : item.failed ? "failed" : item.forwarded ? "…" : "–";
  span.title = item.status || item.failed ? "" : item.forwarded ? "Waiting for the answer" : "Not forwarded";
}

export function status(item) {
  const span = h("span");
  fillStatus(span, item);
  return span;
}

const inView = (index) => index * height >= grid.scrollTop - 1 && (index + 1) * height <= grid.scrollTop + room + 1;

function reveal(index) {
  const top = index * height;
  if (top < grid.scrollTop) grid.scrollTop = top;
  else if (top + height > grid.scrollTop + room) grid.scrollTop = top + height - room;
}

export function select(item, { quiet = false } = {}) {
  selected = item;
  if (item && matches(item)) {
    reveal(find(item.seq));
  }
  draw();
  if (!quiet) onSelect(item);
}

// move selects the delivery n rows further down.
export function move(n) {
  if (!view.length) return;
  const at = selected ? find(selected.seq) : -1;
  const index = selected && view[at] !== selected ? at : at + n; // the selected one isn't in view: begin near it
  select(view[Math.min(view.length - 1, Math.max(0, index))]);
}

export const movePage = (n) => move(n * rowsInView());
export const filtered = () => Boolean(filter.text || filter.event || filter.verdicts.size);
