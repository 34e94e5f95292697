// Values of the curves under the pointer, or by the arrow keys.

const rounded = (number) => String(number).replace("-", "\u2212");

function readOff(figure) {
  const [box, svg, said] = ["[data-values]", "svg", "output"].map((css) =>
    figure.querySelector(css));
  const { frame: [left, top, right, bottom], steps: [low, high], lines } =
    JSON.parse(box.dataset.values);
  const steps = [...new Set(lines.flatMap(([, own]) => own))].sort((a, b) => a - b);
  const { width, height } = svg.viewBox.baseVal;
  const rule = document.createElementNS(svg.namespaceURI, "line");
  rule.setAttribute("class", "rule");
  rule.setAttribute("y1", top * height);
  rule.setAttribute("y2", bottom * height);
  let at = null;

  function tell(place) {
    at = place;
    if (at === null) {
      rule.remove();
      said.textContent = "";
      return;
    }
    const share = (steps[at] - low) / (high - low);
    const x = (left + share * (right - left)) * width;
    rule.setAttribute("x1", x);
    rule.setAttribute("x2", x);
    svg.append(rule);
    const parts = lines.flatMap(([name, own, values, means]) => {
      const i = own.indexOf(steps[at]);
      if (i < 0) return [];
      const mean = means ? ` (mean ${rounded(means[i])})` : "";
      return `${lines.length > 1 ? `${name} ` : ""}${rounded(values[i])}${mean}`;
    });
    said.textContent = `Step ${steps[at]}: ${parts.join(", ")}`;
  }

  box.addEventListener("pointermove", (event) => {
    const area = box.getBoundingClientRect();
    const share = ((event.clientX - area.left) / area.width - left) / (right - left);
    const step = low + share * (high - low);
    const gaps = steps.map((each) => Math.abs(each - step));
    tell(gaps.indexOf(Math.min(...gaps)));
  });
  box.addEventListener("pointerleave", () => tell(null));
  box.addEventListener("blur", () => tell(null));
  box.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const ends = { Home: 0, End: steps.length - 1 }[event.key];
    if (by === undefined && ends === undefined) return;
    event.preventDefault();
    const next = ends ?? (at === null ? steps.length - 1 : at + by);
    tell(Math.min(Math.max(next, 0), steps.length - 1));
  });
}

document.querySelectorAll(".plot").forEach(readOff);
