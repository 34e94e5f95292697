"use strict";

// The list of a class of failures.

// Returns [group, label, status, turns, error, return] of each failure of the class.
function listed() {
  if (!chosen.by) return [];
  return (step()?.failures ?? []).flatMap(([name, corruptions, start, episodes]) =>
    episodes.filter(([label, status, turns, error]) =>
      String({ status, turns, corruptions, start, error }[chosen.by]) === chosen.value
        && (chosen.kind === "greedy") === label.startsWith("greedy"))
      .map((episode) => [name, ...episode]));
}

function showList() {
  const list = byId("list");
  list.hidden = !chosen.by;
  if (list.hidden) return list.replaceChildren();
  const found = listed();
  const close = make("button", { type: "button" }, "Close the list");
  close.addEventListener("click", () => {
    for (const name of filters) chosen[name] = "";
    update();
    writeAddress();
  });
  const heads = ["Group", "Sample", "Ended as", "Turns", "Error at the end", "Return"];
  const rows = found.map(([name, label, status, turns, error, value]) => {
    const choice = { ...chosen, status: "", group: name, sample: label };
    const here = episodeOf(name, label);
    const link = here ? make("a", { href: addressOf(choice) }, visible(name))
      : `${visible(name)} (not on this page)`;
    const cells = [label, status, `${turns}`, visible(error), signed(value)];
    const row = make("tr", {}, make("th", { scope: "row" }, link),
      ...cells.map((text, i) => make("td", { "data-label": heads[i + 1] }, text)));
    if (name === chosen.group && label === chosen.sample) {
      row.setAttribute("aria-current", "true");
    }
    return row;
  });
  const count = `${found.length} failure${found.length === 1 ? "" : "s"}`;
  const title = `${count}, ${chosen.kind}: ${step()?.title ?? ""},`
    + ` ${(classes[chosen.by] ?? chosen.by).toLowerCase()} ${visible(chosen.value)}`;
  list.replaceChildren(
    make("h3", { id: "list-title" }, title), close,
    make("div", { class: "scroll", tabindex: "0", role: "group",
      "aria-label": "Episodes of the list" },
    make("table", {}, make("thead", {}, make("tr", {},
      ...heads.map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, ...rows))));
  const [box, row] = [".scroll", "[aria-current]"].map((css) => list.querySelector(css));
  if (row) box.scrollTop = row.offsetTop - box.offsetTop - box.clientHeight / 2;
}
