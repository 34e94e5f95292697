"""Evaluation of a policy: pass rates on held-out bugs, with intervals."""

import collections
import time
from collections.abc import Sequence

import numpy as np

from repair.env import Verifier
from repair.model import multihost
from repair.rollout.collect import Observer, RolloutSeed, collect_rollouts
from repair.rollout.rollout import Rollout
from repair.tasks import Bug
from repair.training.config import EvalConfig
from repair.training.metrics import progress, rate
from repair.training.pass_rates import mean_interval, pass_at_k
from repair.training.policy import Policy
from repair.training.trajectories import describe, write_records


def measure(
    policy: Policy,
    bugs: Sequence[Bug],
    config: EvalConfig,
    path,
    description: str = "evaluation",
) -> dict:
    """Measure greedy pass@1 and sampled pass@k; write every trajectory to a file.

    A bug of which an episode broke (status "fault") is left out, and counted.

    Args:
      policy: The policy; its verifier is open.
      bugs: The bugs to repair.
      config: Samples and temperature.
      path: JSONL file for the trajectories.
      description: Label of the progress bar.

    Returns:
      Figures: those of `greedy_figures` and `sampled_figures`, "faults" if any,
      "temperature" and "seconds".
    """
    started = time.perf_counter()
    mine = len(multihost.share(range(len(bugs))))
    tokenizer = policy.engine.tokenizer
    figures, records, faults, done = {}, [], 0, 0
    with progress(mine * (1 + config.samples), description) as bar:
        for samples, temperature in ((1, 0.0), (config.samples, config.temperature)):
            if not samples:
                continue

            def show(ended, _, done=done):
                bar.update(done + ended)

            rollouts = collect_rollouts(
                policy.engine,
                policy.params,
                bugs,
                samples,
                policy.config.sampler.sampling(temperature),
                RolloutSeed(policy.config.seed),
                Observer(progress=show),
            )
            rollouts, broken = drop_faults(rollouts, samples)
            passed = verify(rollouts, policy.verifier)
            if done:
                figures |= sampled_figures(passed, samples)
            else:
                figures |= greedy_figures(rollouts, passed)
            records += [
                describe(rollout, tokenizer, temperature) | {"passed": bool(ok)}
                for rollout, ok in zip(rollouts, passed, strict=True)
            ]
            faults, done = faults + broken, done + mine * samples
    if faults:
        figures["faults"] = faults
    figures["temperature"] = config.temperature
    if multihost.first():
        write_records(path, records)
    return figures | {"seconds": round(time.perf_counter() - started, 1)}


def verify(rollouts: Sequence[Rollout], verifier: Verifier) -> np.ndarray:
    """Return for each final program if it passes the shown and the hidden tests, bool.

    The shown tests ran when the program came about. The hidden ones run here, for the
    programs that pass the shown ones.
    """
    passed = np.array([r.passed for r in rollouts], bool)
    indices = [
        i for i, r in enumerate(rollouts) if passed[i] and r.bug.task.hidden_test_list
    ]
    jobs = [
        (r.code, r.bug.task.hidden_test_list, r.bug.task.test_setup_code)
        for r in (rollouts[i] for i in indices)
    ]
    for index, result in zip(indices, verifier.map(jobs), strict=True):
        passed[index] = result.passed
    return passed


def drop_faults(rollouts: list[Rollout], samples: int) -> tuple[list[Rollout], int]:
    """Return the rollouts of bugs of which no episode broke, and how many broke."""
    groups = [rollouts[i : i + samples] for i in range(0, len(rollouts), samples)]
    broken = [sum(r.status == "fault" for r in group) for group in groups]
    kept = [g for g, count in zip(groups, broken, strict=True) if not count]
    return [rollout for group in kept for rollout in group], sum(broken)


def greedy_figures(rollouts: Sequence[Rollout], passed: np.ndarray) -> dict:
    """Return the figures of one greedy episode for each bug.

    Returns:
      "pass@1" and "shown_pass@1" (shown tests only), each {"mean", "low", "high"} over
      the bugs; "by_status"; "by_turn", the share of episodes that first passed at that
      turn; "malformed", the share of commands; "turns", the mean; "by_corruptions",
      pass@1 for each number of corruptions; "bugs", their number; "unfit", those that
      leave the context no room for a command, and if there are both kinds
      "fitting_pass@1" over the others.
    """
    fits = [bool(r.steps) or r.status != "truncated" for r in rollouts]
    fitting = [bool(ok) for ok, fit in zip(passed, fits, strict=True) if fit]
    over_fitting = {"fitting_pass@1": mean_interval(fitting)} if fitting else {}
    steps = [step for r in rollouts for step in r.steps]
    first_pass: collections.Counter = collections.Counter()
    by_corruptions = collections.defaultdict(list)
    for rollout, ok in zip(rollouts, passed, strict=True):
        turns = [e for e, result in enumerate(rollout.results) if result.passed]
        first_pass.update(turns[:1])
        by_corruptions[rollout.bug.corruptions].append(bool(ok))
    return {
        "pass@1": mean_interval(passed),
        "shown_pass@1": mean_interval([r.passed for r in rollouts]),
        "by_status": dict(collections.Counter(r.status for r in rollouts)),
        "by_turn": {str(e): first_pass[e] / len(rollouts) for e in sorted(first_pass)},
        "malformed": float(np.mean([step.malformed for step in steps] or [0.0])),
        "turns": len(steps) / len(rollouts),
        "by_corruptions": {
            str(n): float(np.mean(oks)) for n, oks in sorted(by_corruptions.items())
        },
        "bugs": len(rollouts),
        "unfit": fits.count(False),
        **(over_fitting if False in fits else {}),
    }


def unfit_line(figures: dict, max_length: int) -> str:
    """Return one line on the bugs that do not fit the context; "" if all do."""
    if not figures["unfit"]:
        return ""
    line = f"{figures['unfit']} of {figures['bugs']} programs do not fit {max_length}"
    line += f" tokens: pass@1 {rate(figures['pass@1'])} over all"
    if fitting := figures.get("fitting_pass@1"):
        line += f", {rate(fitting)} over those that fit"
    return line


def sampled_figures(passed: np.ndarray, samples: int) -> dict:
    """Return the pass rates of several samples of each bug.

    Args:
      passed: Of each episode, all samples of a bug in a row.
      samples: Samples of each bug, C.

    Returns:
      "sampled_pass@1" and, for C above 1, "pass@C" without bias; each {"mean", "low",
      "high"} over the bugs.
    """
    right_P = passed.reshape(-1, samples).sum(axis=1)
    return {
        f"pass@{k}" if k > 1 else "sampled_pass@1": mean_interval(
            [pass_at_k(samples, int(right), k) for right in right_P]
        )
        for k in {1, samples}
    }
