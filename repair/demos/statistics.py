"""Figures about demonstrations, to compare with the paper's."""

import collections
import dataclasses
from collections.abc import Iterable, Sequence

from repair.demos.records import Demo
from repair.demos.replay import Outcome
from repair.env.edit_distance import levenshtein
from repair.env.state_text import split_state, unnumber_lines
from repair.sandbox.verdict import ENDED, USED_UP, exception_in

_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
_SAID = {USED_UP: "timeout", ENDED: "crashed"}


@dataclasses.dataclass(frozen=True)
class DemoReport:
    """Outcomes of the candidates. Distances are Levenshtein's, in characters.

    Attributes:
      made: Demonstrations kept; no two of a task have the same faulty program.
      dropped: Candidates left out, by reason.
      unrunnable: Ids of tasks whose reference fails its own tests.
      kinds: Corruptions of the demonstrations, by kind.
      verbs: Commands by verb.
      starts: Demonstrations by their first failure: "failed" (a test), the name of an
        exception, "timeout" or "crashed".
      by_edits: Demonstrations by their number of edits, EXIT not counted.
      edits: Mean number of edits of a demonstration.
      edit_distance: Mean distance between the faulty and the correct program (paper:
        39.93).
      quantiles: Quantiles of that distance, by probability.
      by_corruptions: Its mean by the number of corruptions.
      by_verb: Its mean where there is one edit, by that edit's verb.
      unspaced_distance: Its mean where blanks do not count.
      states_distance: Mean distance from the correct program of every state that an
        edit answers, not only of the first.
    """

    made: int
    dropped: dict[str, int]
    unrunnable: tuple[int | str, ...]
    kinds: dict[str, int]
    verbs: dict[str, int]
    starts: dict[str, int]
    by_edits: dict[int, int]
    edits: float
    edit_distance: float
    quantiles: dict[str, int]
    by_corruptions: dict[int, float]
    by_verb: dict[str, float]
    unspaced_distance: float
    states_distance: float

    def line(self) -> str:
        """Return one line: demonstrations kept, and the reasons of the others."""
        return (
            f"demonstrations: {self.made} replayed until the tests pass,"
            f" {self.edits:.2f} edits each, edit distance {self.edit_distance:.1f};"
            f" dropped {self.dropped}; {len(self.unrunnable)} tasks left out because"
            " their reference fails its own tests"
        )


def summarise(
    outcomes: Sequence[Outcome], unrunnable: Iterable[int | str]
) -> DemoReport:
    """Return the figures of all candidates."""
    demos = [outcome.demo for outcome in outcomes if outcome.demo]
    verbs = [[command.split(" ")[1] for command in demo.commands] for demo in demos]
    distances, unspaced, states = [], [], []
    by_corruptions: dict[int, list[int]] = collections.defaultdict(list)
    by_verb: dict[str, list[int]] = collections.defaultdict(list)
    for demo, said in zip(demos, verbs, strict=True):
        correct, faulty = demo.bug.task.code, demo.bug.faulty_code
        distance = levenshtein(faulty, correct)
        distances.append(distance)
        by_corruptions[demo.bug.corruptions].append(distance)
        if len(said) == 2:
            by_verb[said[0]].append(distance)
        unspaced.append(levenshtein("".join(faulty.split()), "".join(correct.split())))
        states.append(distance)
        for state in demo.states[1:-1]:
            edited = "\n".join(unnumber_lines(split_state(state)[0]))
            states.append(levenshtein(edited, correct))
    return DemoReport(
        made=len(demos),
        dropped=_count(o.dropped for o in outcomes if not o.demo),
        unrunnable=tuple(unrunnable),
        kinds=_count(kind for o in outcomes if o.demo for kind in o.kinds),
        verbs=_count(verb for said in verbs for verb in said),
        starts=dict(collections.Counter(map(first_failure, demos)).most_common()),
        by_edits=_count(len(said) - 1 for said in verbs),
        edits=_mean([len(said) - 1 for said in verbs]),
        edit_distance=_mean(distances),
        quantiles=_quantiles(distances),
        by_corruptions={n: _mean(some) for n, some in sorted(by_corruptions.items())},
        by_verb={verb: _mean(some) for verb, some in sorted(by_verb.items())},
        unspaced_distance=_mean(unspaced),
        states_distance=_mean(states),
    )


def first_failure(demo: Demo) -> str:
    """Return the failure of the faulty program, as `DemoReport.starts` counts it."""
    _, feedback = split_state(demo.states[0])
    if feedback in _SAID:
        return _SAID[feedback]
    # "test 1: got [5]" and "test 1: failed" say no more than that a test failed.
    return exception_in(feedback) or "failed"


def _count(values: Iterable) -> dict:
    return dict(sorted(collections.Counter(values).items()))


def _mean(values: Sequence[int]) -> float:
    return sum(values) / max(len(values), 1)


def _quantiles(values: Sequence[int]) -> dict[str, int]:
    """Return the least value that such a share of all do not exceed."""
    ordered, count = sorted(values), len(values)
    return {
        str(share): next(v for n, v in enumerate(ordered, 1) if n >= share * count)
        for share in (_QUANTILES if values else ())
    }
