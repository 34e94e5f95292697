// The browser of episodes. The address keeps the choice after the #, so that a link leads
// to it. Text of programs and models enters the page as text only, never as markup.

const { classes, runs } = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
// A frame without an address, as in a notebook.
const framed = location.protocol === "about:";
const controls = ["run", "step", "status", "group", "sample"];
// A class of failures: the classification, its value, greedy or sampled episodes.
const filters = ["by", "value", "kind"];
// The choice; "" for any status, for all samples side by side, and for no list.
const chosen = { tokens: false };
for (const name of [...controls, ...filters]) chosen[name] = "";

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// Escapes invisible characters and those that change the direction of text.
function visible(text) {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) =>
    c === "\n" || c === "\t" ? c : `\\u{${c.codePointAt(0).toString(16)}}`);
}

// Numbers that are not finite are null.
function signed(number) {
  if (number === null) return "n/a";
  const text = Math.abs(number).toFixed(2);
  return (number < 0 && text !== "0.00" ? "\u2212" : "+") + text;
}

const logProb = (number) =>
  number === null ? "n/a" : number.toFixed(2).replace("-", "\u2212");

const named = (list, name) => list.find((item) => item.name === name);
const run = () => named(runs, chosen.run);
const step = () => run() && named(run().steps, chosen.step);
const ofStatus = (group) =>
  group.episodes.filter((e) => !chosen.status || e.status === chosen.status);
const groups = () => (step() ? step().groups.filter((g) => ofStatus(g).length) : []);
const group = () => named(groups(), chosen.group);

// The address.

function readAddress(hash = location.hash) {
  const given = new URLSearchParams(hash.slice(1));
  for (const name of [...controls, ...filters]) chosen[name] = given.get(name) ?? "";
  chosen.tokens = given.get("tokens") === "1";
}

function addressOf(choice) {
  const said = new URLSearchParams();
  for (const name of [...controls, ...filters]) {
    if (choice[name]) said.set(name, choice[name]);
  }
  if (choice.tokens) said.set("tokens", "1");
  return "#" + said;
}

function writeAddress() {
  if (!framed) history.replaceState(null, "", addressOf(chosen));
}

// Replaces a choice that is missing by where a reader starts: the last stage, and its
// first failure. Returns the missing names that are worth a message: a sample that
// another step lacks is not.
function settle() {
  const missing = [];
  function settled(name, list, start) {
    if (named(list, chosen[name])) return true;
    if (chosen[name]) missing.push(`${name} ${chosen[name]}`);
    chosen[name] = start ?? list[0]?.name ?? "";
    return false;
  }
  settled("run", runs);
  settled("step", run().steps, named(run().steps, run().opens)?.name);
  if (groups().length) {
    const [start, label] = firstFailure();
    if (!settled("group", groups(), start)) chosen.sample ||= label ?? "";
    if (!ofStatus(group()).some((e) => e.label === chosen.sample)) chosen.sample = "";
  }
  return missing;
}

// Returns the group and sample of the first failure: of the list, else of all groups, a
// greedy one before sampled ones.
function firstFailure() {
  const here = listed().find(([name, label]) =>
    named(groups(), name) && episodeOf(name, label));
  if (here) return here;
  const failed = groups().flatMap((g) =>
    ofStatus(g).filter((e) => e.failed).map((e) => [g.name, e.label]));
  return failed.find(([, label]) => label === "greedy") ?? failed[0] ?? [];
}

const episodeOf = (name, label) =>
  named(step()?.groups ?? [], name)?.episodes.find((e) => e.label === label);

// The controls.

function fill(name, options) {
  byId(name).replaceChildren(
    ...options.map(([value, text]) => make("option", { value }, text)));
  byId(name).value = chosen[name];
}

function counted(list) {
  const counts = new Map();
  for (const item of list) counts.set(item, (counts.get(item) ?? 0) + 1);
  return [...counts].map(([item, count]) => `${count} ${item}`).join(", ");
}

function fillControls() {
  fill("run", runs.map((r) => [r.name, r.name]));
  byId("run").closest("p").hidden = runs.length < 2;
  fill("step", run().steps.map((s) => [s.name, s.title]));
  const here = step() ? step().groups.flatMap((g) => g.episodes) : [];
  const statuses = new Set(runs.flatMap((r) => r.steps.flatMap((s) =>
    s.groups.flatMap((g) => g.episodes.map((e) => e.status)))));
  if (chosen.status) statuses.add(chosen.status);
  fill("status", [["", `any (${here.length})`], ...[...statuses].sort().map((s) =>
    [s, `${s} (${here.filter((e) => e.status === s).length})`])]);
  const list = groups();
  fill("group", list.map((g) =>
    [g.name, `${visible(g.name)}: ${counted(g.episodes.map((e) => e.status))}`]));
  const samples = group() ? ofStatus(group()) : [];
  fill("sample", [["", `all ${samples.length}, side by side`],
    ...samples.map((e) => [e.label, `${e.label}: ${e.status}`])]);
  const place = list.indexOf(group());
  byId("previous").disabled = place <= 0;
  byId("next").disabled = place < 0 || place === list.length - 1;
  byId("tokens").checked = chosen.tokens;
}

// The episodes.

function rowOf([sign, number, head, changed = "", tail = ""]) {
  const kind = { "+": " plus", "-": " minus", " ": "" }[sign];
  const text = make("span", {}, visible(head));
  if (changed) text.append(make("mark", {}, visible(changed)));
  text.append(visible(tail));
  return make("span", { class: "row" + kind },
    make("span", { class: "sign" }, sign), make("span", { class: "number" }, number),
    text, "\n");
}

function figures(pairs) {
  return make("dl", {}, ...pairs.map(([name, value]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}

function tokensOf(turn) {
  if (!turn.tokens?.length) return make("p", {}, "No log-probs were kept.");
  const shown = turn.tokens.map((text, i) => {
    const value = turn.log_probs[i];
    const token = make("li", { class: "token" },
      make("code", {}, visible(text.replaceAll(" ", "\u2423").replaceAll("\n", "\u23ce"))),
      make("small", {}, logProb(value)));
    // Less likely tokens have a thicker line below.
    const doubt = value === null ? 1 : Math.min(-value / 3, 1);
    token.style.setProperty("--doubt", doubt.toFixed(2));
    return token;
  });
  return make("ul", { class: "tokens", "aria-label": "Tokens with their log-probs" },
    ...shown);
}

function turnOf(turn, number) {
  const item = make("li", { class: "turn" }, make("h5", {}, `Turn ${number}`),
    make("p", {}, make("code", { class: "command" }, visible(turn.command) || "(nothing)")));
  if (turn.malformed) {
    item.append(make("p", {}, make("span", { class: "flag" }, "malformed")));
  }
  item.append(make("pre", { class: "diff" }, make("code", {}, ...turn.rows.map(rowOf))));
  const said = turn.feedback === undefined ? "not kept"
    : visible(turn.feedback) || "all tests pass";
  item.append(make("p", { class: "feedback" },
    make("span", { class: "by" }, "Feedback: "), said));
  const pairs = [["reward", signed(turn.reward)]];
  if (turn.return_to_go !== undefined) pairs.push(["return", signed(turn.return_to_go)]);
  if (turn.advantage !== undefined) pairs.push(["advantage", signed(turn.advantage)]);
  if (turn.log_probs?.length) {
    const sum = turn.log_probs.includes(null) ? null
      : turn.log_probs.reduce((a, b) => a + b, 0);
    pairs.push(["log-prob", logProb(sum)]);
  }
  item.append(figures(pairs));
  if (chosen.tokens) item.append(tokensOf(turn));
  return item;
}

function sampleOf(episode, index) {
  const name = episode.label === "greedy" ? "Greedy" : `Sample ${episode.label}`;
  const pairs = [["return", signed(episode.return)], ["turns", `${episode.turns.length}`]];
  if (episode.passed !== undefined) {
    pairs.push(["hidden tests", episode.passed ? "pass" : "fail"]);
  }
  const section = make("section", { class: "sample", "aria-labelledby": `sample-${index}` },
    make("h4", { id: `sample-${index}` }, `${name}: ${episode.status}`), figures(pairs));
  if (episode.learnt === false) {
    section.append(make("p", {}, "Not learnt from: its group had no signal, or it broke."));
  }
  section.append(make("ol", {}, ...episode.turns.map((t, i) => turnOf(t, i + 1))));
  return section;
}

function show() {
  const view = byId("view");
  if (!group()) {
    view.replaceChildren(make("p", {}, step()
      ? `No episode of this step ended as ${chosen.status}.`
      : "This run has no episodes yet."));
    return;
  }
  const { name, text, tests, start } = group();
  const samples = ofStatus(group()).filter((e) => !chosen.sample || e.label === chosen.sample);
  const only = chosen.sample || samples.length === 1 ? " one" : "";
  view.replaceChildren(
    make("h3", {}, visible(name)), make("p", {}, visible(text)),
    make("pre", {}, make("code", {}, visible(tests.join("\n")))),
    make("p", {}, make("span", { class: "by" }, "Feedback at the start: "),
      visible(start) || "all tests pass"),
    make("div", { class: "samples" + only }, ...samples.map(sampleOf)));
  reachable(view);
}

// Makes code that is wider than its box scroll by keyboard.
function reachable(within) {
  for (const block of within.querySelectorAll("pre")) {
    if (block.scrollWidth > block.clientWidth) {
      block.tabIndex = 0;
      block.setAttribute("role", "group");
      block.setAttribute("aria-label", "Program, scrolls sideways");
    }
  }
}

function update(byAddress = false) {
  const missing = settle();
  fillControls();
  showList();
  show();
  byId("said").textContent = byAddress && missing.length
    ? `Not on this page: ${missing.join(", ")}. Its episodes are listed below.` : "";
}

function choose(name, value) {
  chosen[name] = value;
  update();
  writeAddress();
}

function move(by) {
  const list = groups();
  choose("group", list[list.indexOf(group()) + by].name);
}

for (const name of controls) {
  byId(name).addEventListener("change", (event) => choose(name, event.target.value));
}
byId("tokens").addEventListener("change", (event) => choose("tokens", event.target.checked));
byId("previous").addEventListener("click", () => move(-1));
byId("next").addEventListener("click", () => move(1));
byId("controls").addEventListener("submit", (event) => event.preventDefault());
// A link within the page, such as #curves, holds no choice.
const choosing = () => location.hash.includes("=");
addEventListener("hashchange", () => {
  if (choosing()) {
    readAddress();
    update(true);
  }
});
// Links to a choice show it; other links would leave a frame without an address.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#']");
  if (!link) return;
  const hash = link.getAttribute("href");
  if (hash.includes("=")) {
    event.preventDefault();
    if (!framed) history.pushState(null, "", hash);
    const inList = byId("list").contains(link);
    readAddress(hash);
    update(true);
    const target = byId(inList ? "view" : "list");
    target.focus({ preventScroll: true });
    target.scrollIntoView();
  } else {
    const target = document.querySelector(hash);
    if (target.tagName === "DETAILS") target.open = true;
    if (!framed) return;
    event.preventDefault();
    target.scrollIntoView();
  }
});

if (choosing()) readAddress();
byId("controls").hidden = false;
update(true);
