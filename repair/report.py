"""Writes one HTML page about a run: python -m repair.report WORKDIR [--out=FILE].

The page holds everything it shows and needs no network: the table of results, the
curves of metrics.jsonl and the evaluations' trajectories turn by turn.
"""

import html
import io
import json
import pathlib

from absl import flags

from repair import cli
from repair.errors import UserError
from repair.learn.metrics import read_metrics

CURVES = {
    "sft": ("command_loss", "command_accuracy", "gradient_norm", "real_share"),
    "rlvr": ("reward", "solved", "malformed", "turns", "kl", "entropy"),
}
# Okabe and Ito's blue: told from grey by every kind of colour vision, and readable
# on white and on black.
COLOUR, NEUTRAL = "#0072B2", "#7f7f7f"
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: auto;
  padding: 1rem; }
table { border-collapse: collapse; }
td, th { padding: .3rem .8rem; border-bottom: 1px solid #8888; text-align: right; }
svg { max-width: 100%; height: auto; }
pre { overflow-x: auto; border-left: 3px solid #0072B2; padding-left: .6rem; }
details { margin: .3rem 0; }
"""


def main(workdir: str) -> None:
    """Reads the workdir and writes the page."""
    folder = pathlib.Path(workdir)
    try:
        results = json.loads((folder / "results.json").read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(
            f"{folder} holds no results of a run ({error}); give the --workdir of"
            " repair.train"
        ) from error
    rows = read_metrics(folder / "metrics.jsonl")
    parts = [f"<h1>{html.escape(folder.absolute().name)}</h1>", _table(results)]
    for stage, names in CURVES.items():
        mine = [row for row in rows if row["stage"] == stage]
        if mine:
            parts += [f"<h2>{stage}</h2>", _curves(mine, names)]
    for path in sorted((folder / "trajectories").glob("*.jsonl")):
        parts += [f"<h2>{html.escape(path.stem)}</h2>", _trajectories(path)]
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width'>"
        f"<title>{html.escape(folder.name)}</title><style>{STYLE}</style>"
        + "\n".join(parts)
        + "</html>\n"
    )
    out = pathlib.Path(flags.FLAGS.out or folder / "report.html")
    try:
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error}); choose --out") from error
    print(f"the report is in {out}")


def _table(results: dict) -> str:
    stages = results["stages"]
    names = dict.fromkeys(n for figures in stages.values() for n in figures)
    names = [name for name in names if name.startswith("pass@")]
    head = "".join(f"<th>{name}</th>" for name in names)
    body = ""
    for stage, figures in stages.items():
        cells = ""
        for name in names:
            rate = {k: 100 * v for k, v in figures[name].items()}
            cells += "<td>{mean:.1f} ({low:.1f} to {high:.1f})</td>".format(**rate)
        body += f"<tr><th>{stage}</th>{cells}</tr>"
    return (
        f"<table><tr><th>stage</th>{head}</tr>{body}</table>"
        "<p>In percent, with 95% intervals.</p>"
    )


def _curves(rows: list[dict], names: tuple[str, ...]) -> str:
    """One SVG with a small plot for each of the names that the rows hold."""
    try:
        from matplotlib.figure import Figure  # an extra: only this page needs it
    except ImportError as error:
        raise UserError(
            "the curves need matplotlib; install it with: pip install -e '.[report]'"
        ) from error
    names = [name for name in names if name in rows[0]]
    across = 2
    down = -(-len(names) // across)
    figure = Figure(figsize=(10, 2.6 * down), layout="constrained")
    figure.patch.set_alpha(0)
    steps = [row["step"] for row in rows]
    for index, name in enumerate(names, 1):
        axes = figure.add_subplot(down, across, index)
        axes.patch.set_alpha(0)
        axes.plot(steps, [row[name] for row in rows], color=COLOUR, linewidth=1)
        axes.set_title(name.replace("_", " "), color=NEUTRAL)
        axes.tick_params(colors=NEUTRAL)
        for spine in axes.spines.values():
            spine.set_color(NEUTRAL)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]


def _trajectories(path: pathlib.Path) -> str:
    """The first episodes of a file, each folded, each turn with its reward."""
    shown, parts = flags.FLAGS.trajectories, []
    with path.open(encoding="utf-8") as file:
        for line in file:
            if len(parts) == shown:
                break
            parts.append(_trajectory(json.loads(line)))
    return "\n".join(parts)


def _trajectory(record: dict) -> str:
    title = f"{record['bug_id']} sample {record['sample']}: {record['status']}"
    told = "\n".join((record["text"], *record["tests"]))
    body = f"<pre>{html.escape(told)}</pre>"
    for turn in record["turns"]:
        body += (
            f"<pre>{html.escape(turn['state'])}<b>{html.escape(turn['command'])}</b>"
            f"\nreward {turn['reward']:+.1f}</pre>"
        )
    body += f"<pre>{html.escape(record['code'])}</pre>"
    return f"<details><summary>{html.escape(title)}</summary>{body}</details>"


if __name__ == "__main__":
    flags.DEFINE_string("out", "", "The page; by default WORKDIR/report.html.")
    flags.DEFINE_integer("trajectories", 50, "Episodes shown of each file.", 0)
    cli.run(main, "WORKDIR")
