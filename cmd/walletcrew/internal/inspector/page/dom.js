// Small things that all parts use. Text gets into the page by textContent only.

export const $ = (id) => document.getElementById(id);

// h makes an element: h("p", {class: "note"}, "text", otherElement).
export function h(name, attributes = {}, ...children) {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) e.addEventListener(key.slice(2), value);
    else e.setAttribute(key, value === true ? "" : value);
  }
  e.append(...children.filter((c) => c !== undefined && c !== null && c !== false));
  return e;
}

const svgSpace = "http://www.w3.org/2000/svg";

export function s(name, attributes = {}, ...children) {
  const e = document.createElementNS(svgSpace, name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  e.append(...children);
  return e;
}

export function icon(name) {
  return s("svg", { "aria-hidden": "true" }, s("use", { href: "#i-" + name }));
}

// What can't be seen, or turns the text around it, is shown as its code: a sender could use it to make a text look like another.
const unseen = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\u{e0000}-\u{e0fff}]/gu;
const code = (c) => "\\u{" + c.codePointAt(0).toString(16) + "}";

// visible is for a text of one line.
export function visible(text) {
  return String(text).replace(unseen, code).replace(/[\t\r\n]/g, (c) => ({ "\t": "\\t", "\r": "\\r", "\n": "\\n" })[c]);
}

// addVisible adds a text of many lines.
export function addVisible(parent, text, kind) {
  let at = 0;
  const add = (part) => {
    if (part) parent.append(kind ? h("span", { class: "t-" + kind }, part) : part);
  };
  for (const match of text.matchAll(unseen)) {
    add(text.slice(at, match.index));
    parent.append(h("span", { class: "t-unseen", title: "a character that can't be seen" }, code(match[0])));
    at = match.index + match[0].length;
  }
  add(text.slice(at));
}

export const number = new Intl.NumberFormat("en");

export function bytes(n) {
  if (n < 1000) return n + " B";
  if (n < 1e6) return (n / 1000).toFixed(n < 1e4 ? 1 : 0) + " kB";
  return (n / 1e6).toFixed(1) + " MB";
}

export function duration(ms) {
  if (ms < 1) return "<1 ms";
  if (ms < 1000) return Math.round(ms) + " ms";
  return (ms / 1000).toFixed(ms < 10000 ? 2 : 1) + " s";
}

const two = (n) => String(n).padStart(2, "0");

export function clock(ms, fine = true) {
  const d = new Date(ms);
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}` + (fine ? "." + String(d.getMilliseconds()).padStart(3, "0") : "");
}

export function date(ms) {
  const d = new Date(ms);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
}

export const settings = JSON.parse(document.querySelector('meta[name="walletcrew-settings"]').content);
const token = document.querySelector('meta[name="walletcrew-token"]').content;

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the command doesn't answer: is it still running?");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw Object.assign(new Error(answer.error || `the command answered ${response.status}`), { status: response.status });
  return answer;
}

export const get = (path, signal) => request(path, { signal });

export const post = (path, body) => request(path, {
  method: "POST",
  headers: { "Content-Type": "application/json", "X-Walletcrew-Token": token },
  body: JSON.stringify(body ?? {}),
});

let hiding;

// toast says what came of an action. action: {label, run}.
export function toast(text, { error = false, action } = {}) {
  const button = $("toast-action");
  $("toast-text").textContent = text;
  $("announce").textContent = text; // a region that was hidden isn't always read
  $("toast").classList.toggle("bad", error);
  button.hidden = !action;
  button.textContent = action?.label ?? "";
  button.onclick = action ? () => { action.run(); $("toast").hidden = true; } : null;
  $("toast").hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { $("toast").hidden = true; }, error ? 10000 : 6000);
}

export const sentence = (text) => text ? text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".") : "";
