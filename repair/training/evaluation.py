"""What a policy can do: pass rates on held-out bugs, with intervals."""

import collections
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from repair.env.verifier import Verifier
from repair.errors import expect
from repair.rollout.rollouts import Rollout
from repair.training.pass_rates import mean_interval, pass_at_k


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """How a policy is measured.

    Attributes:
      samples: Sampled episodes of each bug; also the k of pass@k.
      temperature: Of the sampled episodes; pass@1 is greedy.
    """

    samples: int = 4
    temperature: float = 0.8

    def __post_init__(self):
        for name in ("samples", "temperature"):
            expect(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")


def judge(rollouts: Sequence[Rollout], sandbox: Verifier) -> np.ndarray:
    """Whether each final program passes the shown and the hidden tests, bool.

    The shown tests were run when the program came about; the hidden ones run here,
    for the programs that pass the shown ones.
    """
    passed = np.array([r.passed for r in rollouts])
    indices = [
        i for i, r in enumerate(rollouts) if passed[i] and r.bug.task.hidden_test_list
    ]
    jobs = [
        (r.code, r.bug.task.hidden_test_list, r.bug.task.test_setup_code)
        for r in (rollouts[i] for i in indices)
    ]
    for index, result in zip(indices, sandbox.map(jobs), strict=True):
        passed[index] = result.passed
    return passed


def evaluate(
    play: Callable[[int, float], list[Rollout]], sandbox: Verifier, config: EvalConfig
) -> tuple[dict, list[tuple[Rollout, bool, float]]]:
    """Measures greedy pass@1 and sampled pass@k.

    Args:
      play: (samples, temperature) -> rollouts of every bug, a bug's samples in a
        row.
      sandbox: Runs the hidden tests.
      config: Samples and temperature.

    A bug of which an episode broke (status "fault") is left out, and counted.

    Returns:
      (results, judged): results holds "pass@1" (greedy) and "pass@{samples}", each
      {"mean", "low", "high"} over the bugs, "sampled_pass@1", "shown_pass@1" (greedy,
      shown tests only), "by_status", "by_turn" (share of greedy episodes that first
      passed at that turn) and means; judged holds every episode with whether it
      passes the hidden tests too, and its temperature.
    """
    results, judged = {}, []
    greedy, faults = _sound(play(1, 0.0), 1)
    passed = judge(greedy, sandbox)
    results["pass@1"] = mean_interval(passed)
    results["shown_pass@1"] = mean_interval([r.passed for r in greedy])
    results["by_status"] = dict(collections.Counter(r.status for r in greedy))
    results["by_turn"] = _by_turn(greedy)
    commands = [turn for r in greedy for turn in r.turns[1:]]
    results["malformed"] = float(np.mean([t.malformed for t in commands] or [0.0]))
    results["turns"] = len(commands) / len(greedy)
    results["by_corruptions"] = _by_corruptions(greedy, passed)
    judged += [(r, bool(ok), 0.0) for r, ok in zip(greedy, passed, strict=True)]
    if config.samples:
        sampled, more = _sound(play(config.samples, config.temperature), config.samples)
        faults += more
        passed = judge(sampled, sandbox)
        right_P = passed.reshape(-1, config.samples).sum(axis=1)
        for k in {1, config.samples}:
            name = f"pass@{k}" if k > 1 else "sampled_pass@1"
            rates = [pass_at_k(config.samples, int(c), k) for c in right_P]
            results[name] = mean_interval(rates)
        judged += [
            (r, bool(ok), config.temperature)
            for r, ok in zip(sampled, passed, strict=True)
        ]
    results["bugs"] = len(greedy)
    if faults:
        results["faults"] = faults
    results["temperature"] = config.temperature
    return results, judged


def _sound(rollouts: list[Rollout], samples: int) -> tuple[list[Rollout], int]:
    """The rollouts of bugs of which no episode broke, and how many episodes did."""
    groups = [rollouts[i : i + samples] for i in range(0, len(rollouts), samples)]
    broken = [sum(r.status == "fault" for r in group) for group in groups]
    kept = [g for g, count in zip(groups, broken, strict=True) if not count]
    return [rollout for group in kept for rollout in group], sum(broken)


def _by_turn(rollouts) -> dict[str, float]:
    first = collections.Counter()
    for rollout in rollouts:
        hits = [e for e, turn in enumerate(rollout.turns) if turn.passed]
        if hits:
            first[hits[0]] += 1
    return {str(e): first[e] / len(rollouts) for e in sorted(first)}


def _by_corruptions(rollouts, passed) -> dict[str, float]:
    groups = collections.defaultdict(list)
    for rollout, ok in zip(rollouts, passed, strict=True):
        groups[rollout.bug.corruptions].append(bool(ok))
    return {str(n): float(np.mean(oks)) for n, oks in sorted(groups.items())}
