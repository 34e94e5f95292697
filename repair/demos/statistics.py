"""Figures about demonstrations, to set beside the paper's."""

import collections
import dataclasses

from repair.demos.records import Demo
from repair.env.edit_distance import levenshtein
from repair.env.state_text import split_state, unnumber_lines
from repair.sandbox.outcomes import exception_in

_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
_SAID = {"out of memory": "memory", "the program ended the interpreter": "crashed"}


@dataclasses.dataclass(frozen=True)
class DemoReport:
    """What became of the candidates. Distances are Levenshtein's, in characters.

    Attributes:
      made: Demonstrations kept; no two of a task have the same faulty program.
      dropped: Candidates left out, by reason.
      unrunnable: Ids of tasks whose reference fails its own tests.
      kinds: Corruptions of what was kept, by kind.
      verbs: Commands by verb.
      starts: Demonstrations by what is wrong at first: "failed" (a test), the name of
        an exception, "timeout", "memory" or "crashed".
      by_edits: Demonstrations by their number of edits, EXIT not counted.
      edits: Mean number of edits of a demonstration.
      edit_distance: Mean distance between the faulty and the correct program (paper:
        39.93).
      quantiles: Of that distance, by probability.
      by_corruptions: Its mean by the number of corruptions.
      by_verb: Its mean where there is one edit, by that edit's verb.
      unspaced_distance: Its mean where blanks do not count.
      states_distance: Mean distance from the correct program of every state that an
        edit answers, rather than of the first.
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
        """One line: how many were kept, and what of the others."""
        return (
            f"demonstrations: {self.made} replayed until the tests pass,"
            f" {self.edits:.2f} edits each, edit distance {self.edit_distance:.1f};"
            f" dropped {self.dropped}; {len(self.unrunnable)} tasks left out because"
            " their reference fails its own tests"
        )


class Mean:
    """A running mean."""

    def __init__(self):
        self._sum, self._count = 0, 0

    def add(self, value) -> None:
        """Takes in one value."""
        self._sum, self._count = self._sum + value, self._count + 1

    @property
    def value(self) -> float:
        """The mean so far, 0 of nothing."""
        return self._sum / max(self._count, 1)


class Tally:
    """Counts over demonstrations that pass by one at a time."""

    def __init__(self):
        self._verbs: collections.Counter = collections.Counter()
        self._starts: collections.Counter = collections.Counter()
        self._edits: collections.Counter = collections.Counter()
        self._distances: collections.Counter = collections.Counter()
        self._by_corruptions: dict = collections.defaultdict(Mean)
        self._by_verb: dict = collections.defaultdict(Mean)
        self._unspaced, self._states = Mean(), Mean()

    def add(self, demo: Demo) -> None:
        """Takes in one."""
        verbs = [command.split(" ")[1] for command in demo.commands]
        self._verbs.update(verbs)
        self._edits[len(verbs) - 1] += 1
        self._starts[first_failure(demo)] += 1
        correct, faulty = demo.bug.task.code, demo.bug.faulty_code
        distance = levenshtein(faulty, correct)
        self._distances[distance] += 1
        self._by_corruptions[demo.bug.corruptions].add(distance)
        if len(verbs) == 2:
            self._by_verb[verbs[0]].add(distance)
        self._unspaced.add(levenshtein(_unspaced(faulty), _unspaced(correct)))
        self._states.add(distance)
        for state in demo.states[1:-1]:
            edited = "\n".join(unnumber_lines(split_state(state)[0]))
            self._states.add(levenshtein(edited, correct))

    def report(self, dropped: dict, kinds: dict, unrunnable) -> DemoReport:
        """The figures, with what cannot be told from the demonstrations."""
        edits = sum(n * count for n, count in self._edits.items())
        distances = sum(n * count for n, count in self._distances.items())
        made = self._edits.total()
        return DemoReport(
            made=made,
            dropped=_sorted(dropped),
            unrunnable=tuple(unrunnable),
            kinds=_sorted(kinds),
            verbs=_sorted(self._verbs),
            starts=dict(self._starts.most_common()),
            by_edits=_sorted(self._edits),
            edits=edits / max(made, 1),
            edit_distance=distances / max(made, 1),
            quantiles=_quantiles(self._distances),
            by_corruptions=_means(self._by_corruptions),
            by_verb=_means(self._by_verb),
            unspaced_distance=self._unspaced.value,
            states_distance=self._states.value,
        )


def first_failure(demo: Demo) -> str:
    """What is wrong with the faulty program, as `DemoReport.starts` counts it."""
    _, feedback = split_state(demo.states[0])
    if feedback in _SAID:
        return _SAID[feedback]
    # "test 1: got [5]" and "test 1: failed" say no more than that a test failed.
    return exception_in(feedback) or "failed"


def _unspaced(code: str) -> str:
    return "".join(code.split())


def _sorted(counts: dict) -> dict:
    return dict(sorted(counts.items()))


def _means(by_name: dict) -> dict:
    return {name: by_name[name].value for name in sorted(by_name)}


def _quantiles(counts: collections.Counter) -> dict[str, int]:
    """The least value that such a share of all do not exceed."""
    total, quantiles = counts.total(), {}
    for share in _QUANTILES if total else ():
        seen = 0
        for value in sorted(counts):
            seen += counts[value]
            if seen >= share * total:
                quantiles[str(share)] = value
                break
    return quantiles
