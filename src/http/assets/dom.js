// Small DOM things. What comes from logs goes in as text, never as HTML: nothing here takes HTML.

/** An element: properties are attributes, `class`, `text`, and handlers as `onclick`. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Text that is changed only when it differs, so that nothing that stands still is told again. */
export function say(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}

/** Puts a cell's content in: text, or `{ text, href, class, title }`. */
export function fill(node, content) {
  const wanted = content !== null && typeof content === "object" ? content : { text: content ?? "" };
  const was = node.filled;
  if (was && ["text", "href", "class", "title"].every((name) => was[name] === wanted[name])) return;
  node.filled = wanted;
  let inner = node;
  if (wanted.href) {
    inner = node.querySelector("a") ?? node.replaceChildren(el("a")) ?? node.firstChild;
    inner.setAttribute("href", wanted.href);
  } else if (wanted.class) {
    inner = node.querySelector("span") ?? node.replaceChildren(el("span")) ?? node.firstChild;
  }
  inner.textContent = wanted.text ?? "";
  if (inner !== node) inner.className = wanted.class ?? "";
  if (wanted.title) node.title = wanted.title;
  else node.removeAttribute("title");
}

/** A part of a page, with its heading. */
export function panel(title, ...children) {
  const id = `part-${title.toLowerCase().replace(/[^a-z]+/g, "-")}`;
  return el("section", { class: "panel", "aria-labelledby": id }, el("h2", { id, text: title }), ...children);
}

/** What is longer than so many characters gets two columns. */
const LONG_CHARACTERS = 60;

/** Names with what they are: a list that is brought up to date by name. */
export function facts(label) {
  const node = el("dl", { class: "facts", "aria-label": label });
  const known = new Map();
  return {
    node,
    set(name, content) {
      if (content === null || content === undefined) {
        known.get(name)?.parentNode.remove();
        known.delete(name);
        return;
      }
      if (!known.has(name)) {
        const said = el("dd");
        node.append(el("div", {}, el("dt", { text: name }), said));
        known.set(name, said);
      }
      const said = known.get(name);
      fill(said, content);
      said.parentNode.classList.toggle("long", said.textContent.length > LONG_CHARACTERS);
    },
  };
}

let problems = 0;

/** A line for what went wrong, which is told at once. */
export function problem() {
  const node = el("p", { class: "problem", role: "alert", id: `problem-${(problems += 1)}`, hidden: true });
  return {
    node,
    say(error) {
      node.hidden = !error;
      if (error) say(node, error.hint ? `${error.message} (${error.hint})` : error.message);
    },
  };
}
