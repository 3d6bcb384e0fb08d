// Two plots over the same time: deliveries by verdict as stacked bars, and the latency as the range and the median of each bar.

import { $, clock, duration, number, s } from "./dom.js";
import { items, verdicts } from "./store.js";

const left = 44, right = 6, top = 8, bottom = 18;
const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];
const plural = (n, word) => `${number.format(n)} ${n === 1 ? word : word === "delivery" ? "deliveries" : word + "s"}`;

let current; // what is drawn: {from, width, buckets}

function collect(seconds, bars) {
  const now = Date.now();
  let span = seconds * 1000;
  if (!span) span = items.reduce((most, item) => Math.max(most, now - item.time), 60000);
  const width = span / (bars - 1), to = Math.ceil(now / width) * width, from = to - bars * width;
  const buckets = Array.from({ length: bars }, () => ({ total: 0, times: [] }));
  const all = { total: 0, times: [] };
  for (const item of items) {
    if (item.time < from) continue;
    const bucket = buckets[Math.min(bars - 1, Math.floor((item.time - from) / width))];
    for (const b of item.time >= now - span ? [bucket, all] : [bucket]) { // the first bucket begins a little earlier
      b.total++;
      b[item.verdict] = (b[item.verdict] ?? 0) + 1;
      if (item.status) b.times.push(item.durationMs);
    }
  }
  for (const b of [...buckets, all]) {
    b.times.sort((x, y) => x - y);
    b.median = b.times[b.times.length >> 1];
  }
  return { from, to, width, buckets, all };
}

function summary({ all }, seconds) {
  const period = seconds ? { 60: "last minute", 300: "last 5 minutes", 1800: "last 30 minutes", 7200: "last 2 hours" }[seconds] : "time since the first";
  if (!items.length) return "No deliveries yet";
  if (!all.total) return `No deliveries in the ${period}`;
  const others = verdicts.slice(1).filter((v) => all[v]).map((v) => `${number.format(all[v])} ${v}`);
  const latency = all.times.length ? `; your service: median ${duration(all.median)}, slowest ${duration(all.times.at(-1))}` : "";
  return `${plural(all.total, "delivery")} in the ${period}` + (others.length ? `, ${others.join(", ")}` : ", all verified") + latency;
}

export function draw() {
  if ($("plots").hidden !== !items.length) $("plots").hidden = !items.length;
  if (!$("plots").open) {
    const seconds = Number($("range").value);
    $("plot-summary").textContent = summary(collect(seconds, 60), seconds);
    return;
  }
  const width = Math.max(160, $("plot-count").clientWidth), height = Math.max(60, $("plot-count").clientHeight);
  const seconds = Number($("range").value), bars = Math.max(20, Math.min(75, Math.floor((width - left - right) / 8)));
  current = { ...collect(seconds, bars), bars, plotWidth: width, height, x: (t) => left + (t - current.from) / (current.to - current.from) * (width - left - right) };
  const text = summary(current, seconds);
  $("plot-summary").textContent = text;
  for (const id of ["plot-count", "plot-latency"]) $(id).setAttribute("viewBox", `0 0 ${width} ${height}`);
  $("plot-count").setAttribute("aria-label", "Deliveries by verdict over time: " + text);
  $("plot-latency").setAttribute("aria-label", "Latency of your service over time: " + text);
  drawCount();
  drawLatency();
}

const line = (y) => s("line", { class: "rule", x1: left, x2: current.plotWidth - right, y1: y, y2: y });
const mark = (y, text) => s("text", { class: "tick", x: left - 6, y: y + 4, "text-anchor": "end" }, text);

function timeAxis() {
  const { from, to, x, height, plotWidth } = current, parts = [];
  const want = (to - from) / 1000 / Math.max(2, Math.floor((plotWidth - left) / 110));
  const step = (steps.find((n) => n >= want) ?? 86400) * 1000;
  const zone = new Date(to).getTimezoneOffset() * 60000;
  for (let t = Math.ceil((from - zone) / step) * step + zone; t <= to; t += step) {
    if (x(t) < left + 12 || x(t) > plotWidth - 26) continue;
    parts.push(s("text", { class: "tick", x: x(t), y: height - 3, "text-anchor": "middle" }, step < 60000 ? clock(t, false) : clock(t, false).slice(0, 5)));
  }
  return parts;
}

function drawCount() {
  const { buckets, x, from, width, height } = current, parts = [];
  const most = Math.max(1, ...buckets.map((b) => b.total));
  const unit = 10 ** Math.floor(Math.log10(most)), max = [1, 2, 5, 10].map((n) => n * unit).find((n) => n >= most);
  const y = (n) => height - bottom - n / max * (height - top - bottom);
  for (const n of max > 1 ? [0, max / 2, max] : [0, 1]) {
    parts.push(line(Math.round(y(n)) + 0.5));
    if (Number.isInteger(n)) parts.push(mark(y(n), number.format(n)));
  }
  const bar = Math.max(1, x(from + width) - x(from) - 1.5);
  buckets.forEach((b, i) => {
    let below = 0;
    for (const verdict of verdicts) {
      if (!b[verdict]) continue;
      const bottomY = y(below), topY = y(below + b[verdict]);
      below += b[verdict];
      parts.push(s("rect", { class: "bar f-" + verdict, x: x(from + i * width) + 0.75, y: topY, width: bar, height: Math.max(1, bottomY - topY) }));
    }
  });
  $("plot-count").replaceChildren(...parts, ...timeAxis());
}

function drawLatency() {
  const { buckets, x, from, width, height, all } = current, parts = [];
  const low = Math.floor(Math.log10(Math.max(0.1, all.times[0] ?? 1)));
  const high = Math.max(low + 2, Math.ceil(Math.log10(Math.max(1, all.times.at(-1) ?? 100))));
  const y = (ms) => height - bottom - (Math.log10(Math.max(ms, 10 ** low)) - low) / (high - low) * (height - top - bottom);
  for (let n = low; n <= high; n++) {
    parts.push(line(Math.round(y(10 ** n)) + 0.5));
    if (high - low <= 3 || (high - n) % 2 === 0) parts.push(mark(y(10 ** n), n < 0 ? "0.1 ms" : n < 3 ? 10 ** n + " ms" : 10 ** (n - 3) + " s"));
  }
  buckets.forEach((b, i) => {
    if (!b.times.length) return;
    const middle = x(from + (i + 0.5) * width);
    if (b.times.length > 1) parts.push(s("line", { class: "spread", x1: middle, x2: middle, y1: y(b.times[0]), y2: y(b.times.at(-1)) }));
    parts.push(s("circle", { class: "median", cx: middle, cy: y(b.median), r: 2.5 }));
  });
  if (!all.times.length) {
    parts.push(s("text", { class: "nothing", x: (left + current.plotWidth - right) / 2, y: (height - bottom + top) / 2 + 4, "text-anchor": "middle" }, "No answers yet"));
  }
  $("plot-latency").replaceChildren(...parts, ...timeAxis());
}

function readout(event) {
  const svg = event.currentTarget, box = svg.getBoundingClientRect();
  const i = Math.floor((event.clientX - box.left - left) / (box.width - left - right) * (current?.bars ?? 0));
  const b = current?.buckets[i];
  $("count-readout").textContent = b ? `${clock(current.from + i * current.width, false)}: ` + (b.total ? verdicts.filter((v) => b[v]).map((v) => `${b[v]} ${v}`).join(", ") : "none") : "";
  $("latency-readout").textContent = b?.times.length ? `median ${duration(b.median)}, slowest ${duration(b.times.at(-1))}` : "";
}

export function start() {
  for (const id of ["plot-count", "plot-latency"]) {
    $(id).addEventListener("pointermove", readout);
    $(id).addEventListener("pointerleave", () => { $("count-readout").textContent = $("latency-readout").textContent = ""; });
  }
  $("range").addEventListener("change", draw);
  $("plots").addEventListener("toggle", draw);
  new ResizeObserver(later).observe($("plots"));
  setInterval(() => { if (!document.hidden && items.length) draw(); }, 1000);
  draw();
}

let waiting;

// later draws soon, and once for all that asks for it until then.
export function later() {
  waiting ??= setTimeout(() => { waiting = undefined; draw(); }, 150);
}
