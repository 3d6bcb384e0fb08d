// JSON as text: it is never parsed into values, which would lose large numbers and members that stand twice.

const token = /[ \t\r\n]+|"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null|[{}[\],:]/y;

// tokens returns [{text, start, depth}] without white space, or null if the text isn't JSON.
export function tokens(text) {
  try {
    JSON.parse(text);
  } catch {
    return null;
  }
  const list = [];
  let depth = 0;
  for (token.lastIndex = 0; token.lastIndex < text.length;) {
    const start = token.lastIndex;
    const match = token.exec(text);
    if (!match) return null;
    const t = match[0];
    if (/^[ \t\r\n]/.test(t)) continue;
    if (t === "}" || t === "]") depth--;
    list.push({ text: t, start, depth });
    if (t === "{" || t === "[") depth++;
  }
  for (let i = 0; i < list.length; i++) {
    const c = list[i].text[0];
    list[i].kind = c === '"' ? (list[i + 1]?.text === ":" ? "key" : "string") : /[-\d]/.test(c) ? "number" : /[tfn]/.test(c) ? "word" : "mark";
  }
  return list;
}

const maxIndent = 40; // deeper levels aren't indented further: a hostile body would grow with the square of its depth

const maxPretty = 1 << 20; // characters

// pretty returns the pieces of the indented text: [{text, kind}], kind being undefined for marks and white space; null if it gets
// too long.
export function pretty(list) {
  const out = [];
  let plain = "", size = 0;
  const line = (depth) => {
    const indent = 2 * Math.min(depth, maxIndent);
    size += 1 + indent;
    plain += "\n" + " ".repeat(indent);
  };
  for (let i = 0; i < list.length; i++) {
    const t = list[i];
    size += t.text.length + 1;
    if (size > maxPretty) return null;
    const before = list[i - 1]?.text, opens = before === "{" || before === "[", closes = t.text === "}" || t.text === "]";
    if (closes ? !opens : opens || before === ",") line(t.depth);
    if (t.kind === "mark") {
      plain += t.text === ":" ? ": " : t.text;
      continue;
    }
    if (plain) out.push({ text: plain });
    plain = "";
    out.push({ text: t.text, kind: t.kind });
  }
  if (plain) out.push({ text: plain });
  return out;
}

// format returns the indented text, or the text as it is where that can't be had.
export function format(text) {
  const list = tokens(text);
  return list && pretty(list)?.map((p) => p.text).join("") || text;
}

// withID returns the text with another "__id", or null if the outermost object has none that is a string.
export function withID(text, id) {
  const list = tokens(text);
  if (!list || list[0]?.text !== "{") return null;
  for (let i = 0; i + 2 < list.length; i++) {
    const value = list[i + 2];
    if (list[i].depth === 1 && list[i].kind === "key" && list[i].text === '"__id"' && value.kind === "string") {
      return text.slice(0, value.start) + JSON.stringify(id) + text.slice(value.start + value.text.length);
    }
  }
  return null;
}
