// The frame of all pages: which is shown, whether there is a connection, as of when, and who is let in.

import { showChannel } from "./channel.js";
import { showChannels } from "./channels.js";
import { say } from "./dom.js";
import { count } from "./format.js";
import { askToken, offerLogout } from "./login.js";
import { moment } from "./moment.js";
import { showOverview } from "./overview.js";
import { showStream } from "./stream.js";
import { showTask } from "./task.js";
import { showTasks } from "./tasks.js";
import { startTravel } from "./travel.js";
import { pulse, run, vitals } from "./vitals.js";
import { showWorkers } from "./workers.js";

/** What stands behind `#/`, the page, and the one of the navigation that it belongs to. */
const PAGES = {
  "": ["Overview", showOverview, ""],
  channels: ["Channels", showChannels, "channels"],
  channel: ["Channel", showChannel, "channels"],
  tasks: ["Tasks", showTasks, "tasks"],
  task: ["Task", showTask, "tasks"],
  stream: ["Task stream", showStream, "stream"],
  workers: ["Workers", showWorkers, "workers"],
};

const main = document.getElementById("main");
let shown = null;
let named = "";

/** The name of the page, and of when it is if that is not now: a tab says it, too. */
function entitle() {
  const then = moment.at === null ? "" : `offset ${count(moment.at)}, not live: `;
  document.title = `${then}${named} · Headwater`;
}

function open(event) {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/");
  const [title, show, place] = Object.hasOwn(PAGES, name) ? PAGES[name] : ["Not found", notFound, null];
  shown?.abort();
  shown = new AbortController();
  const what = rest.length ? decode(rest.join("/")) : null;
  named = what ?? title;
  entitle();
  for (const link of document.querySelectorAll("#pages a")) {
    if (link.getAttribute("href") === `#/${place}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  main.replaceChildren();
  if (vitals.state === "token") return askToken(main, shown, open);
  show(main, { signal: shown.signal, what, query: new URLSearchParams(query) });
  // Who cannot see that the page is another one hears it. Who moves the slider goes on with it.
  if (event instanceof HashChangeEvent) {
    scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function notFound(place) {
  const heading = document.createElement("h1");
  heading.textContent = `There is no page at ${location.hash}`;
  const link = document.createElement("a");
  Object.assign(link, { href: "#/", textContent: "To the overview" });
  place.append(heading, link);
}

function showConnection() {
  const { state, why } = vitals;
  const lost = document.getElementById("lost");
  const words = { connecting: "connecting", connected: "connected", lost: "not connected", token: "token wanted" };
  document.body.dataset.link = state;
  say(document.getElementById("link"), words[state]);
  lost.hidden = state !== "lost";
  if (state === "lost") say(lost, `Not connected, trying again: ${why}. What is shown is the last that was seen.`);
  if (state === "token") askToken(main, shown, open);
}

pulse.addEventListener("change", showConnection);
moment.addEventListener("change", entitle);
addEventListener("hashchange", open);
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
offerLogout();
startTravel(open);
showConnection();
open();
run();
