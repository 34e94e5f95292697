"""Outcomes of an evaluation by bug, and their comparison with those of another.

results.json keeps them with each stage's figures as "outcomes", one line a field:

  bugs      digest of all bugs, in order: equal ones were measured on the same bugs
  programs  for each bug the number of its program; bugs of one program are a cluster
  greedy    for each bug 1 if its greedy episode passed, else 0; - if it broke
  sampled   for each bug how many of its samples passed; - if one broke
  samples   samples of each bug
"""

import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import special

from repair.errors import UserError
from repair.rollout.rollout import Rollout
from repair.tasks import Bug
from repair.training.pass_rates import difference_intervals, pass_at_k

_BROKEN = "-"
_FIELDS = ("bugs", "programs", "greedy")


def program_of(bug: Bug) -> str:
    """Return the program that a bug is of: bugs of equal references are a cluster."""
    return bug.task.code


def count_right(rollouts: Sequence[Rollout], passed: np.ndarray) -> dict[str, int]:
    """Return for each bug how many of its episodes passed all tests."""
    found: dict[str, int] = {}
    for rollout, ok in zip(rollouts, passed, strict=True):
        name = rollout.bug.bug_id
        found[name] = found.get(name, 0) + bool(ok)
    return found


def by_bug(
    bugs: Sequence[Bug],
    greedy: Mapping[str, int],
    sampled: Mapping[str, int] | None = None,
    samples: int = 0,
) -> dict:
    """Return the outcomes of all bugs.

    Args:
      bugs: All bugs, also those of which an episode broke.
      greedy: From `count_right`, without the broken ones.
      sampled: The same of the samples.
      samples: Samples of each bug.
    """
    numbers: dict[str, int] = {}
    for bug in bugs:
        numbers.setdefault(program_of(bug), len(numbers))

    def line(counts: Mapping[str, int]) -> str:
        return " ".join(str(counts.get(bug.bug_id, _BROKEN)) for bug in bugs)

    packed = {
        "bugs": digest(bugs),
        "programs": " ".join(str(numbers[program_of(bug)]) for bug in bugs),
        "greedy": line(greedy),
    }
    if sampled is not None:
        packed |= {"sampled": line(sampled), "samples": samples}
    return packed


def digest(bugs: Sequence[Bug]) -> str:
    """Return a digest of what is to be repaired, in order."""
    rows = [
        (bug.bug_id, bug.faulty_code, bug.task.code, bug.task.test_setup_code)
        + (*bug.task.test_list, None, *bug.task.hidden_test_list)
        for bug in bugs
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def read_stages(path) -> dict[str, dict]:
    """Return the outcomes of the stages of a results.json, or of its folder.

    Raises:
      UserError: It cannot be read, or holds no outcomes by bug.
    """
    path = pathlib.Path(path)
    path = path / "results.json" if path.is_dir() else path
    try:
        stages = json.loads(path.read_text(encoding="utf-8"))["stages"]
        found = {name: figures.get("outcomes") for name, figures in stages.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"--against={path}: no results of an evaluation"
            f" ({type(error).__name__}: {error}); give the folder or the results.json"
            " that repair.evaluate or repair.train wrote"
        ) from error
    whole = {name: each for name, each in found.items() if is_outcomes(each)}
    if not whole:
        raise UserError(
            f"--against={path}: holds no outcomes by bug; measure it again with"
            " repair.evaluate, and give that folder"
        )
    return whole


def is_outcomes(value) -> bool:
    """Return True for outcomes as from `by_bug`, of an evaluation that kept them."""
    return isinstance(value, dict) and all(
        isinstance(value.get(field), str) for field in _FIELDS
    )


def on_same_bugs(path, bugs: Sequence[Bug]) -> dict[str, dict]:
    """Return the outcomes of those stages of a results.json that are of these bugs.

    Raises:
      UserError: It cannot be read, or all of them are of other bugs.
    """
    stages, wanted = read_stages(path), digest(bugs)
    same = {name: each for name, each in stages.items() if each["bugs"] == wanted}
    if not same:
        raise UserError(
            f"--against={path} was measured on other bugs than these {len(bugs)}, and"
            " only the same ones can be compared; give both evaluations the same"
            " --tasks, --path, --count and --seed"
        )
    return same


def compare(mine: dict, theirs: dict) -> dict[str, dict[str, float]]:
    """Return the differences of all rates that two evaluations share, mine first.

    Args:
      mine: Outcomes as from `by_bug`.
      theirs: Those of another evaluation of the same bugs.

    Returns:
      By rate {"mean", "low", "high"}, from -1 to 1: the interval is paired, over the
      bugs of which no episode broke in either.
    """
    programs = np.array(mine["programs"].split())
    pairs = {"pass@1": (_column(mine, "greedy"), _column(theirs, "greedy"))}
    if "sampled" in mine and "sampled" in theirs:
        for k in range(1, min(mine["samples"], theirs["samples"]) + 1):
            name = f"pass@{k}" if k > 1 else "sampled_pass@1"
            pairs[name] = _at_k(mine, k), _at_k(theirs, k)
    found = {}
    for name, (own, other) in pairs.items():
        gaps = own - other
        whole = np.isfinite(gaps)
        if whole.any():
            gap = {name: gaps[whole]}
            found |= difference_intervals(gap, programs[whole].tolist())
    return found


def count_changes(mine: dict, theirs: dict) -> dict[str, float]:
    """Return the bugs whose greedy outcome differs between two evaluations.

    The sign test is exact, two-sided, and over programs, since the bugs of one program
    stand or fall together: it asks how likely so uneven a split of the programs that
    got better or worse would be if both were equally likely.

    Args:
      mine: Outcomes as from `by_bug`.
      theirs: Those of another evaluation of the same bugs.

    Returns:
      "bugs", those of which no episode broke in either; "mended", those that only mine
      repaired, and "broken", those that only theirs did; "better" and "worse", programs
      with more of the one or of the other; "p" of the sign test.
    """
    gaps = _column(mine, "greedy") - _column(theirs, "greedy")
    whole = np.isfinite(gaps)
    _, places = np.unique(mine["programs"].split(), return_inverse=True)
    sums = np.bincount(places[whole], gaps[whole])
    better, worse = int((sums > 0).sum()), int((sums < 0).sum())
    tail = special.bdtr(min(better, worse), better + worse, 0.5)
    return {
        "bugs": int(whole.sum()),
        "mended": int((gaps == 1).sum()),
        "broken": int((gaps == -1).sum()),
        "better": better,
        "worse": worse,
        "p": min(2 * float(tail), 1.0),
    }


def _column(outcomes: dict, name: str) -> np.ndarray:
    """Return the counts of a line, nan for the bugs that broke."""
    words = outcomes[name].split()
    return np.array([np.nan if word == _BROKEN else float(word) for word in words])


def _at_k(outcomes: dict, k: int) -> np.ndarray:
    right, samples = _column(outcomes, "sampled"), outcomes["samples"]
    return np.array(
        [x if np.isnan(x) else pass_at_k(samples, int(x), k) for x in right]
    )
