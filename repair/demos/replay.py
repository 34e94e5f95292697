"""Demonstrations from commands: replayed in the environment, kept if solved."""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Sequence

from repair.demos.records import Demo
from repair.env.batch import reset_all, step_all
from repair.env.environment import Environment
from repair.env.rewards import Rewards
from repair.env.tools import LineEditor, Tool
from repair.env.verifier import Verifier
from repair.tasks import Bug


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Outcome of one candidate.

    Attributes:
      demo: The demonstration, or None.
      dropped: Reason why there is none.
      kinds: Kinds of the corruptions, in their order.
    """

    demo: Demo | None
    dropped: str = ""
    kinds: tuple[str, ...] = ()


@dataclasses.dataclass
class Candidate:
    """A bug and the commands that should solve it, during their replay.

    Attributes:
      bug: Start of the episode.
      edits: All commands but the last.
      end: The last command, given as soon as the tests pass.
      kinds: Kinds of the corruptions, in their order.
      states: States so far.
      commands: Commands so far.
    """

    bug: Bug
    edits: Sequence[str]
    end: str
    kinds: tuple[str, ...] = ()
    states: list[str] = dataclasses.field(default_factory=list)
    commands: list[str] = dataclasses.field(default_factory=list)

    def answer(self, turn) -> str:
        """Return the next command, the last one once the tests pass."""
        left = self.edits[len(self.commands) :]
        self.states.append(turn.state_text)
        self.commands.append(left[0] if left and not turn.passed else self.end)
        return self.commands[-1]

    def outcome(self, turn) -> Outcome | None:
        """Return the outcome after a step; None to go on."""
        if turn.malformed:
            return Outcome(None, "a command does not apply")
        if turn.status == "solved":
            demo = Demo(self.bug, tuple(self.states), tuple(self.commands))
            return Outcome(demo, kinds=self.kinds)
        if turn.status == "max_turns":
            return Outcome(None, "needs too many turns")
        return Outcome(None, "ends failing") if turn.done else None


def replay(
    chunk: Sequence[Candidate | Outcome],
    verifier: Verifier,
    max_turns: int,
    make_tool: Callable[[str], Tool] = LineEditor,
) -> list[Outcome]:
    """Replay the candidates in lockstep; outcomes among them stay as they are."""
    outcomes = {i: c for i, c in enumerate(chunk) if isinstance(c, Outcome)}
    live = {i: c for i, c in enumerate(chunk) if isinstance(c, Candidate)}
    environments = {
        i: Environment(verifier, Rewards(), max_turns, make_tool) for i in live
    }
    begun = reset_all(list(environments.values()), [c.bug for c in live.values()])
    results = dict(zip(live, begun, strict=True))
    for i, result in results.items():
        if result.passed:
            outcomes[i] = Outcome(None, "starts passing")
            del live[i]
    while live:
        commands = [candidate.answer(results[i]) for i, candidate in live.items()]
        stepped = step_all([environments[i] for i in live], commands)
        results = dict(zip(live, stepped, strict=True))
        for i, result in results.items():
            if outcome := live[i].outcome(result):
                outcomes[i] = outcome
                del live[i]
    return [outcomes[i] for i in range(len(chunk))]


@dataclasses.dataclass(frozen=True)
class Replayed:
    """Outcomes of the replay of given commands.

    Attributes:
      made: Demonstrations kept.
      dropped: Candidates left out, by reason.
    """

    made: int
    dropped: dict[str, int]

    def line(self) -> str:
        """Return one line: demonstrations kept, and the reasons of the others."""
        return f"demonstrations: {self.made} replayed; dropped {self.dropped}"


def demonstrate(
    solutions: Iterable[tuple[Bug, Sequence[str]]],
    verifier: Verifier,
    make_tool: Callable[[str], Tool],
    max_turns: int,
) -> tuple[list[Demo], Replayed]:
    """Replay the solutions of a tool of one's own: (demonstrations, report).

    Args:
      solutions: Bugs, each with the commands that should solve it; the last of them
        ends the episode, and is given as soon as the tests pass.
      verifier: Runs the tests of the states.
      make_tool: Makes the tool from the state of a bug.
      max_turns: Longest episode, its last command included.

    Raises:
      ValueError: A bug comes without commands.
    """
    candidates = []
    for bug, said in solutions:
        if not said:
            raise ValueError(f"{bug.bug_id} has no commands, not even to end with")
        candidates.append(Candidate(bug, said[:-1], said[-1]))
    outcomes = replay(candidates, verifier, max_turns, make_tool)
    demos = [outcome.demo for outcome in outcomes if outcome.demo]
    dropped = collections.Counter(o.dropped for o in outcomes if not o.demo)
    return demos, Replayed(len(demos), dict(dropped))
