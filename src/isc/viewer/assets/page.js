"use strict";
/* The page around what is shown: data, theme, keys. Everything that comes from a conversation reaches the document as a
   text node or a property, never as markup. */

const data = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement;
const main = document.getElementById("main");
const byId = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en-US");
const percent = (share) => (share >= 0.9995 || share === 0 ? share * 100 : Math.max(share * 100, 0.1)).toFixed(share >= 0.9995 || share === 0 ? 0 : 1) + " %";

/* Make an element: its class, its text or children, its properties. */
function make(tag, className = "", content = [], properties = {}) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...[content].flat());
  for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
  return element;
}

/* Settings that outlive a visit, where the browser lets a page keep any. */
const kept = {
  get(name) { try { return localStorage.getItem("isc." + name); } catch { return null; } },
  set(name, value) { try { localStorage.setItem("isc." + name, value); } catch { /* a page in a sandbox keeps none */ } },
};

const THEMES = ["auto", "light", "dark"];
function setTheme(theme) {
  if (theme === "auto") delete root.dataset.theme; else root.dataset.theme = theme;
  const button = byId("theme");
  button.textContent = "Theme: " + theme;
  button.setAttribute("aria-label", `Theme: ${theme}. Change it`);
  kept.set("theme", theme);
}
const nextTheme = () => setTheme(THEMES[(THEMES.indexOf(root.dataset.theme || "auto") + 1) % THEMES.length]);

function setScaffold(shown) {
  root.dataset.scaffold = shown ? "on" : "off";
  byId("scaffold").setAttribute("aria-pressed", String(shown));
}

function setWhitespace(shown) {
  root.dataset.whitespace = shown ? "on" : "off";
  byId("whitespace").setAttribute("aria-pressed", String(shown));
  if (viewer.sequence) viewer.refill();
}

const COLOURS = { role: "Role", trained: "Trained", part: "Part", logprob: "Log-prob" };
function coloursOf(sequence) {
  const known = ["role"];
  if (sequence.trained) known.push("trained");
  if (sequence.runs.some((run) => run[3])) known.push("part");
  if (sequence.logprobs) known.push("logprob");
  return known;
}
function offerColours(sequence) {
  const known = sequence ? coloursOf(sequence) : [];
  byId("colour").hidden = known.length < 2;
  if (!known.includes(root.dataset.colour)) root.dataset.colour = "role";
  byId("colour").replaceChildren(make("legend", "", "Colour by"), ...known.map((name) => {
    const input = make("input", "", [], { type: "radio", name: "colour", value: name });
    input.checked = name === root.dataset.colour;
    return make("label", "", [input, make("span", "", COLOURS[name])]);
  }));
}
function setColour(name) {
  root.dataset.colour = name;
  for (const input of byId("colour").querySelectorAll("input")) input.checked = input.value === name;
  viewer.drawLegend();
}
function nextColour() {
  const names = [...byId("colour").querySelectorAll("input")].map((input) => input.value);
  if (names.length) setColour(names[(names.indexOf(root.dataset.colour) + 1) % names.length]);
}

const KEYS = [
  ["j", "next message"], ["k", "previous message"], ["→", "next token"], ["←", "previous token"],
  ["s", "show or hide scaffold"], ["w", "show or hide white space"], ["c", "colour by something else"],
  ["t", "change the theme"], ["Esc", "let go of the token; back to the report"], ["?", "this list"],
];
function showKeys() {
  const close = make("button", "", "Close", { type: "button" });
  const dialog = byId("keys");
  dialog.replaceChildren(
    make("h2", "", "Keys", { id: "keys-title" }),
    make("dl", "", KEYS.flatMap(([key, meaning]) => [make("dt", "", make("kbd", "", key)), make("dd", "", meaning)])),
    close,
  );
  close.addEventListener("click", () => dialog.close());
  if (!dialog.open) dialog.showModal();
}

const ACTIONS = {
  j: () => viewer.walkMessages(1), k: () => viewer.walkMessages(-1),
  ArrowRight: () => viewer.walkTokens(1), ArrowLeft: () => viewer.walkTokens(-1),
  s: () => setScaffold(root.dataset.scaffold === "off"), w: () => setWhitespace(root.dataset.whitespace !== "on"),
  c: nextColour, t: nextTheme, "?": showKeys, Escape: () => leave(),
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("keys").open) return;
  if (event.key.startsWith("Arrow") && event.target.closest("fieldset, input, details, .scroll")) return;
  const action = ACTIONS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

byId("theme").addEventListener("click", nextTheme);
byId("help").addEventListener("click", showKeys);
byId("scaffold").addEventListener("click", () => setScaffold(root.dataset.scaffold === "off"));
byId("whitespace").addEventListener("click", () => setWhitespace(root.dataset.whitespace !== "on"));
byId("colour").addEventListener("change", (event) => setColour(event.target.value));
byId("menu").addEventListener("click", () => {
  const open = byId("outline").classList.toggle("open");
  byId("menu").setAttribute("aria-expanded", String(open));
});

/* What is shown is named by the address: "#3" is the sequence at 3, none the report or the first sequence. */
function leave() {
  if (viewer.letGo()) return;
  if (data.report && viewer.sequence) location.hash = "";
}
byId("back").addEventListener("click", () => { location.hash = ""; });

function route() {
  const asked = /^#(\d+)$/.exec(location.hash);
  const place = asked && data.sequences[asked[1]] ? Number(asked[1]) : 0;
  const report = Boolean(data.report) && !asked;
  byId("back").hidden = !data.report || report;
  for (const id of ["scaffold", "whitespace"]) byId(id).hidden = report;
  byId("menu").hidden = byId("outline").hidden = report;
  byId("frame").classList.toggle("alone", report);
  main.replaceChildren();
  scrollTo(0, 0);
  if (report) {
    viewer.close();
    offerColours(null);
    showReport(data.report);
  } else if (data.sequences.length) {
    offerColours(data.sequences[place]);
    viewer.open(place);
  }
  main.focus({ preventScroll: true });
}
