// Where the cluster has a token: a form for it, and its end. A cookie that no script can read carries it from then on.

import { post } from "./api.js";
import { el, problem } from "./dom.js";
import { pulse, vitals } from "./vitals.js";

/** Whether somebody came in by the form: the cookie itself is not to be seen here. */
const CAME_IN = "headwater-came-in";

let waiting = null;

/** Asks for the token in place of a page, until there is a connection; then `open` shows the page. */
export function askToken(main, shown, open) {
  shown?.abort();
  const refused = problem();
  const token = el("input", { type: "password", id: "token", autocomplete: "current-password", required: true });
  const form = el(
    "form",
    { class: "login" },
    el("h1", { text: "This cluster has a token" }),
    el("p", { text: "It is what the scheduler was started with: --token-file." }),
    el("p", {}, el("label", { for: "token", text: "Token " }), token),
    refused.node,
    el("p", {}, el("button", { text: "Come in" })),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    refused.say(null);
    try {
      await post("/login", { token: token.value });
      remember(true);
    } catch (error) {
      refused.say(error);
      token.select();
    }
  });
  main.replaceChildren(form);
  token.focus();
  waiting?.abort();
  waiting = new AbortController();
  const look = () => {
    if (vitals.state !== "connected") return;
    waiting.abort();
    open();
  };
  pulse.addEventListener("change", look, { signal: waiting.signal });
}

/** Shows the button that ends it to who came in by the form. */
export function offerLogout() {
  const button = document.getElementById("logout");
  button.hidden = localStorage.getItem(CAME_IN) === null;
  button.onclick = async () => {
    await post("/logout");
    remember(false);
  };
}

function remember(isIn) {
  if (isIn) localStorage.setItem(CAME_IN, "yes");
  else localStorage.removeItem(CAME_IN);
  offerLogout();
}
