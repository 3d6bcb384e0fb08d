// The page, again every two seconds. Only what has changed is replaced, so that the focus and a screen reader keep their place.
const state = document.getElementById("state");
const current = state.textContent;

async function refresh() {
  if (!document.hidden) {
    let says = current;
    try {
      const answer = await fetch("/");
      if (!answer.ok) throw new Error(answer.statusText);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("[data-live]")) {
        const next = fresh.getElementById(part.id);
        if (part.innerHTML !== next.innerHTML) part.replaceChildren(...next.childNodes);
      }
    } catch {
      says = "The service doesn't answer: these numbers are old";
    }
    state.classList.toggle("old", says !== current);
    if (state.textContent !== says) state.textContent = says;
  }
  setTimeout(refresh, 2000);
}
setTimeout(refresh, 2000);
