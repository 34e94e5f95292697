"""Plots of the metrics of several runs, as SVG with colours from CSS."""

import dataclasses
import functools
import io
import re
from collections.abc import Callable, Sequence

import numpy as np

from repair.report_page.runs import Run

# Placeholders for colours of the page's style sheet, which has light and dark ones.
_SERIES = tuple(f"#a0b0c{n}" for n in range(6))
_INK, _GRID = "#a0b0d0", "#a0b0d1"
_CSS = {colour: f"var(--series-{n})" for n, colour in enumerate(_SERIES)}
_CSS |= {_INK: "currentColor", _GRID: "var(--line)"}
# Runs differ in colour, dashes and marks. The lengths of these lists share no factor
# but 2 (colours and dashes), so sixty runs look different.
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
_MARKS = ("o", "s", "^", "D", "v")
_MANY = 80  # from so many steps on, a moving mean is drawn as well
SMOOTH = 40  # the window of the mean is the number of steps over this
_MOST = 2000  # points of a line that can be read off


@dataclasses.dataclass(frozen=True)
class Curve:
    """One curve of a stage.

    Attributes:
      title: Its heading.
      unit: Its unit, in words.
      value: A field of the metrics, or a function of a line of metrics and the config.
    """

    title: str
    unit: str
    value: str | Callable[[dict, dict], float | None]


@dataclasses.dataclass(frozen=True)
class Plot:
    """One drawn curve.

    Attributes:
      title: Its heading.
      unit: Its unit, in words.
      svg: The drawing.
      words: A sentence for screen readers.
      values: Numbers to read off: "frame", the left, top, right and bottom edge of the
        axes as shares of the drawing; "steps", those at its left and right edge; and
        "lines", [run, steps, values, their means or null] each.
    """

    title: str
    unit: str
    svg: str
    words: str
    values: dict


def _sft_tokens(row: dict, config: dict) -> float:
    batch = config["sft"]["rows"] * config["sft"]["row_length"]
    return row["real_share"] * batch / row["seconds_step"]


def _rlvr_rate(name: str) -> Callable[[dict, dict], float]:
    def value(row, config):
        return row[name] / (row["seconds_rollouts"] + row["seconds_update"])

    return value


_HELD_OUT = (
    Curve("pass@1", "greedy, share of some held-out programs", "pass@1"),
    Curve("Shown pass@1", "by the shown tests alone", "shown_pass@1"),
    Curve("Command loss", "held-out demonstrations, nats a token", "command_loss"),
    Curve("Command accuracy", "held-out demonstrations", "command_accuracy"),
)
CURVES = {
    "sft_eval": _HELD_OUT,
    "rlvr_eval": _HELD_OUT,
    "sft": (
        Curve("Loss", "with the states, nats a command's token", "loss"),
        Curve("Command loss", "nats a token", "command_loss"),
        Curve("Command accuracy", "share of tokens", "command_accuracy"),
        Curve("Gradient norm", "before clipping", "gradient_norm"),
        Curve("Throughput", "trained tokens a second", _sft_tokens),
    ),
    "rlvr": (
        Curve("Reward", "sum of an episode", "reward"),
        Curve("Solve rate", "share of episodes", "solved"),
        Curve("Gave up", "EXIT with a failing test, share of episodes", "gave_up"),
        Curve("Cut", "at the turns, share of episodes", "max_turns"),
        Curve("Truncated", "out of context, share of episodes", "truncated"),
        Curve("Pass at group", "share of groups with a solved episode", "pass@group"),
        Curve("Solved groups", "all episodes, share of groups", "groups_solved"),
        Curve("Mixed groups", "some episodes, share of groups", "groups_mixed"),
        Curve("Malformed rate", "share of commands", "malformed"),
        Curve("Turns", "commands an episode", "turns"),
        Curve("Command length", "sampled tokens a command", "tokens_per_command"),
        Curve("Policy loss", "clipped, with KL and entropy", "policy_loss"),
        Curve("KL", "nats a token to the policy before RLVR", "kl"),
        Curve("Entropy", "nats a token", "entropy"),
        Curve("Gradient norm", "before clipping", "gradient_norm"),
        Curve("Learning rate", "of the step's first update", "learning_rate"),
        Curve("Groups without signal", "share of 1", "zero_variance_groups"),
        Curve("Idle share", "of the device, in rollouts", "idle_share"),
        Curve("Throughput", "sampled tokens a second", _rlvr_rate("sampled_tokens")),
        Curve("Episodes", "a second, update included", _rlvr_rate("episodes")),
    ),
}


def series(run: Run, stage: str, curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Return (steps, values) of a curve, float64, where it has values."""
    points = []
    for row in run.metrics:
        if row["stage"] == stage:
            try:
                field = isinstance(curve.value, str)
                value = row[curve.value] if field else curve.value(row, run.config)
            except (KeyError, TypeError, ZeroDivisionError):
                continue  # steps and versions differ in their fields
            if value is not None:
                points.append((row["step"], value))
    steps, values = zip(*points, strict=True) if points else ((), ())
    return np.array(steps, float), np.array(values, float)


def smoothed(values: np.ndarray) -> np.ndarray:
    """Return the moving mean around each step; few steps stay as they are.

    Near the ends the window is narrower, so that it stays centred.
    """
    if len(values) < _MANY:
        return values
    places = np.arange(len(values))
    half = np.minimum(places, places[::-1]).clip(max=max(len(values) // SMOOTH // 2, 1))
    sums = np.cumsum(np.insert(values, 0, 0.0))
    return (sums[places + half + 1] - sums[places - half]) / (2 * half + 1)


def draw_curves(runs: Sequence[Run], stage: str) -> list[Plot]:
    """Plot each curve of a stage that a run has."""
    plots = []
    for number, curve in enumerate(CURVES[stage]):
        lines = [
            (i, run.name, *series(run, stage, curve)) for i, run in enumerate(runs)
        ]
        lines = [line for line in lines if len(line[2])]
        if lines:
            fill = functools.partial(_plot, lines, len(runs) > 1)
            svg, values = _svg(f"{stage}{number}", 4.0, 2.3, fill)
            values["lines"] = [_points(*line[1:]) for line in lines]
            words = _words(curve, lines)
            plots.append(Plot(curve.title, curve.unit, svg, words, values))
    return plots


def swatch(index: int) -> str:
    """Draw the line of the run of this number, as a small SVG for a legend."""

    def line(axes):
        axes.axis("off")
        axes.plot([0, 1, 2], [0, 0, 0], markevery=[1], **_style(index, True))

    return _svg(f"swatch{index}", 0.55, 0.18, line)[0]


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

    # From 0 where that is near; the margin keeps a line at 0 off the axis.
    if 0 <= low <= high / 2:
        high = high or 1
        axes.set_ylim(-0.03 * high, 1.05 * high)


def _words(curve: Curve, lines) -> str:
    parts = [
        f"{name}: {mean[0]:.3g} at step {steps[0]:.0f}, {mean[-1]:.3g} at step"
        f" {steps[-1]:.0f}"
        for _, name, steps, values in lines
        for mean in (smoothed(values),)
    ]
    return f"{curve.title} ({curve.unit}) by step. {'; '.join(parts)}."


def _points(name: str, steps: np.ndarray, values: np.ndarray) -> list:
    """Return a line's numbers to read off, to four digits."""
    mean, every = smoothed(values), -(-len(steps) // _MOST)
    kept = slice((len(steps) - 1) % every, None, every)  # the last one too

    def short(numbers):
        return [float(f"{number:.4g}") for number in numbers[kept]]

    steps = steps[kept].astype(int).tolist()
    return [name, steps, short(values), None if mean is values else short(mean)]


def _svg(
    key: str, width: float, height: float, fill: Callable
) -> tuple[str, dict[str, list[float]]]:
    """Return an SVG with a size in inches, and the frame and steps of `Plot.values`.

    `key` is unique in its page.
    """
    import matplotlib  # here, since its import takes long and only the page needs it
    from matplotlib.figure import Figure

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
    place = axes.get_position()
    frame = [place.x0, 1 - place.y1, place.x1, 1 - place.y0]
    steps = [round(float(step), 3) for step in axes.get_xlim()]
    values = {"frame": [round(float(edge), 4) for edge in frame], "steps": steps}
    return _for_page(buffer.getvalue()), values


def _for_page(text: str) -> str:
    """Return the SVG element alone, with the page's colours and unique ids."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    # The page sets the size; the view box keeps the proportions.
    text = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r" font-family: [^;]*;", "", text)  # the page's
    # Ids that something refers to are hashes with the salt; others occur in every SVG.
    used = set(re.findall(r"""(?:href="#|url\(#)([^")]+)""", text))
    text = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", text)
    for colour, css in _CSS.items():
        text = text.replace(colour, css)
    return text.strip()
