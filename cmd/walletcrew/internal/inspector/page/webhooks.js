// What is registered.

import { $, get, h, post, sentence, settings, toast, visible } from "./dom.js";

export function start() {
  $("w-refresh").addEventListener("click", load);
  $("w-note").textContent = settings.mode === "dev"
    ? "Registered with the platform in memory. A webhook that is off gets no deliveries."
    : "Registered with the platform. Switch one on or off with `walletcrew webhooks update`.";
}

export async function load() {
  try {
    const { webhooks } = await get("/api/webhooks");
    $("w-list").replaceChildren(webhooks.length ? table(webhooks) : nothing());
  } catch (error) {
    $("w-list").replaceChildren(h("p", { class: "error", role: "alert" }, sentence(error.message)));
  }
}

function nothing() {
  return h("div", { class: "empty" }, h("h3", {}, "No webhooks"),
    h("p", {}, "Create one with your client, or on a terminal:"),
    h("p", {}, h("code", {}, "walletcrew webhooks ensure --endpoint URL --events 'Pass:*'")));
}

function table(webhooks) {
  return h("table", {},
    h("thead", {}, h("tr", {}, ...["Endpoint", "Events", "ID", "Enabled"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, ...webhooks.map(row)));
}

function row(webhook) {
  return h("tr", {},
    h("td", {}, h("span", { class: "mono" }, visible(webhook.endpoint)), webhook.description ? h("p", { class: "note" }, visible(webhook.description)) : ""),
    h("td", {}, h("ul", { class: "tags" }, ...(webhook.events ?? []).map((name) => h("li", {}, visible(name))))),
    h("td", {}, h("span", { class: "mono" }, visible(webhook.id))),
    h("td", {}, settings.mode === "dev" ? toggle(webhook) : webhook.enabled ? "on" : "off"));
}

function toggle(webhook) {
  const button = h("button", { type: "button", class: "switch", role: "switch", "aria-checked": String(webhook.enabled), "aria-label": "Enabled: " + visible(webhook.endpoint) },
    h("span", { class: "knob", "aria-hidden": "true" }), h("span", { class: "switch-text", "aria-hidden": "true" }, webhook.enabled ? "on" : "off"));
  button.addEventListener("click", async () => {
    const on = button.getAttribute("aria-checked") !== "true";
    button.disabled = true;
    try {
      await post("/api/webhooks", { id: webhook.id, enabled: on });
      button.setAttribute("aria-checked", String(on));
      button.querySelector(".switch-text").textContent = on ? "on" : "off";
    } catch (error) {
      toast(sentence(error.message), { error: true });
    }
    button.disabled = false;
    button.focus();
  });
  return button;
}
