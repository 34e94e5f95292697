"""Curves of several runs over one another, as SVG that takes its colours from CSS."""

import dataclasses
import functools
import io
import re
from collections.abc import Callable, Sequence

import numpy as np

from repair.errors import UserError
from repair.report_page.runs import Run

# Colours that stand for what the page's style sheet decides, in light and dark.
_SERIES = tuple(f"#a0b0c{n}" for n in range(6))
_INK, _GRID = "#a0b0d0", "#a0b0d1"
_CSS = {colour: f"var(--series-{n})" for n, colour in enumerate(_SERIES)}
_CSS |= {_INK: "currentColor", _GRID: "var(--line)"}
# Runs differ in colour, dashes and marks, each of another length, so that it takes
# sixty runs until two look alike.
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
_MARKS = ("o", "s", "^", "D", "v")
# From so many steps on a mean over neighbours is drawn beside the steps.
_MANY = 80
SMOOTH = 40  # means of one part in so many of the steps


@dataclasses.dataclass(frozen=True)
class Curve:
    """What one plot shows.

    Attributes:
      title: Its heading.
      unit: What is counted, in words.
      value: From a line of metrics and the run's config to a number; KeyError or None
        where there is none.
    """

    title: str
    unit: str
    value: Callable[[dict, dict], float | None]


@dataclasses.dataclass(frozen=True)
class Plot:
    """One drawn curve: its heading, its unit, the SVG, and the same in a sentence."""

    title: str
    unit: str
    svg: str
    words: str


def curves(stage: str) -> tuple[Curve, ...]:
    """What is plotted of a stage: "sft" or "rlvr"."""

    def field(name):
        return lambda row, config: row[name]

    def sft_tokens(row, config):
        batch = config["sft"]["rows"] * config["sft"]["row_length"]
        return row["real_share"] * batch / row["seconds_step"]

    def rlvr_rate(name):
        def value(row, config):
            return row[name] / (row["seconds_rollouts"] + row["seconds_update"])

        return value

    share = "share of 1"
    if stage == "sft":
        return (
            Curve("Loss", "with the states, nats a command's token", field("loss")),
            Curve("Command loss", "nats a token", field("command_loss")),
            Curve("Command accuracy", "share of tokens", field("command_accuracy")),
            Curve("Gradient norm", "before clipping", field("gradient_norm")),
            Curve("Throughput", "trained tokens a second", sft_tokens),
        )
    return (
        Curve("Reward", "sum of an episode", field("reward")),
        Curve("Solve rate", "share of episodes", field("solved")),
        Curve("Malformed rate", "share of commands", field("malformed")),
        Curve("Turns", "commands an episode", field("turns")),
        Curve("Policy loss", "clipped, with KL and entropy", field("policy_loss")),
        Curve("KL", "nats a token to the policy before RLVR", field("kl")),
        Curve("Entropy", "nats a token", field("entropy")),
        Curve("Gradient norm", "before clipping", field("gradient_norm")),
        Curve("Groups without signal", share, field("zero_variance_groups")),
        Curve("Idle share", "of the device, in rollouts", field("idle_share")),
        Curve("Throughput", "sampled tokens a second", rlvr_rate("sampled_tokens")),
        Curve("Episodes", "a second, update included", rlvr_rate("episodes")),
    )


def series(run: Run, stage: str, curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """(steps, values) of a curve, float64; without the steps that have no value."""
    points = []
    for row in run.metrics:
        if row["stage"] == stage:
            try:
                value = curve.value(row, run.config)
            except (KeyError, TypeError, ZeroDivisionError):
                continue  # a line of a version, or of a step, that lacks a field
            if value is not None:
                points.append((row["step"], value))
    steps, values = zip(*points, strict=True) if points else ((), ())
    return np.array(steps, float), np.array(values, float)


def smoothed(values: np.ndarray) -> np.ndarray:
    """The mean of the last steps at each step; as it is where steps are few."""
    if len(values) < _MANY:
        return values
    window = len(values) // SMOOTH
    sums = np.cumsum(np.insert(values, 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def draw(runs: Sequence[Run], stage: str) -> list[Plot]:
    """A plot of each of a stage's curves that some run has.

    Raises:
      UserError: matplotlib is not installed.
    """
    plots = []
    for number, curve in enumerate(curves(stage)):
        lines = [
            (i, run.name, *series(run, stage, curve)) for i, run in enumerate(runs)
        ]
        lines = [line for line in lines if len(line[2])]
        if lines:
            svg = _svg(
                f"{stage}{number}",
                4.0,
                2.3,
                functools.partial(_plot, lines, len(runs) > 1),
            )
            plots.append(Plot(curve.title, curve.unit, svg, _words(curve, lines)))
    return plots


def swatch(index: int) -> str:
    """How the run of this number is drawn, as a small SVG for a legend."""

    def line(axes):
        axes.axis("off")
        axes.plot([0, 1, 2], [0, 0, 0], markevery=[1], **_style(index, True))

    return _svg(f"swatch{index}", 0.55, 0.18, line)


def _style(index: int, marked: bool) -> dict:
    style = {"color": _SERIES[index % len(_SERIES)], "linewidth": 1.6}
    if marked:
        style |= {"linestyle": _DASHES[index % len(_DASHES)], "markersize": 4.5}
        style |= {"marker": _MARKS[index % len(_MARKS)]}
    return style


def _plot(lines, marked: bool, axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.grid(True, color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("step")
    low, high = np.inf, -np.inf
    for index, _, steps, values in lines:
        style = _style(index, marked or len(steps) == 1)
        mean = smoothed(values)
        if mean is not values:
            thin = style | {"linewidth": 0.6, "alpha": 0.35, "marker": ""}
            axes.plot(steps, values, **thin | {"linestyle": "-"})
        every = max(len(steps) // 6, 1)
        low, high = min(low, values.min()), max(high, values.max())
        axes.plot(steps, mean, markevery=(index * every // 3 % every, every), **style)

    # From nothing up where that is near; a line at nothing lies off the axis.
    if 0 <= low <= high / 2:
        high = high or 1
        axes.set_ylim(-0.03 * high, 1.05 * high)


def _words(curve: Curve, lines) -> str:
    told = [
        f"{name}: {mean[0]:.3g} at step {steps[0]:.0f}, {mean[-1]:.3g} at step"
        f" {steps[-1]:.0f}"
        for _, name, steps, values in lines
        for mean in (smoothed(values),)
    ]
    return f"{curve.title} ({curve.unit}) by step. {'; '.join(told)}."


def _svg(key: str, width: float, height: float, fill: Callable) -> str:
    """An SVG of that many inches, to be put into a page with others.

    Args:
      key: Begins all its ids, so that no two SVGs of a page share one.
      width: In inches.
      height: In inches.
      fill: Draws on the axes.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure  # an extra: only the page needs it
    except ImportError as error:
        raise UserError(
            "the page's curves need matplotlib; install it with: pip install -e"
            " '.[report]', or read the run with --terminal"
        ) from error
    inks = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color")
    settings = dict.fromkeys((*inks, "ytick.color"), _INK)
    settings |= {"svg.fonttype": "none", "svg.hashsalt": key, "font.size": 9}
    settings |= {"font.family": "sans-serif", "axes.linewidth": 0.8}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        fill(axes)
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing)
    return _for_page(buffer.getvalue(), key)


def _for_page(text: str, key: str) -> str:
    """The SVG element alone, with the page's colours and ids of its own."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    # The size is the page's business; the view box keeps the proportions.
    text = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r" font-family: [^;]*;", "", text)  # the page's
    used = set(re.findall(r"""(?:href="#|url\(#)([^")]+)""", text))

    def own(match):
        return f' id="{key}-{match[1]}"' if match[1] in used else ""

    text = re.sub(r' id="([^"]*)"', own, text)
    text = re.sub(r"(href=\"#|url\(#)", rf"\g<1>{key}-", text)
    for colour, css in _CSS.items():
        text = text.replace(colour, css)
    return text.strip()
