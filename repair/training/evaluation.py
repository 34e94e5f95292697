"""Evaluation of a policy: pass rates on held-out bugs, with intervals."""

import collections
import dataclasses
import time
from collections.abc import Mapping, Sequence

import numpy as np

from repair.env import Verifier
from repair.model import multihost
from repair.rollout.collect import Observer, RolloutSeed, collect_rollouts
from repair.rollout.rollout import Rollout
from repair.sandbox import Result, SandboxError
from repair.tasks import Bug
from repair.tasks.bugs import in_child
from repair.training import comparison
from repair.training.comparison import program_of
from repair.training.config import EvalConfig
from repair.training.metrics import progress
from repair.training.pass_rates import cluster_intervals, pass_at_k
from repair.training.policy import Policy
from repair.training.tables import rate
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
      config: Samples, temperature and seed.
      path: JSONL file for the trajectories.
      description: Label of the progress bar.

    Returns:
      Figures: those of `greedy_figures` and `sampled_figures`, "faults" if any,
      "in_child" as from `count_in_child`, "temperature", "seconds", and "outcomes",
      which `repair.training.comparison` compares with those of others.
    """
    started = time.perf_counter()
    mine = len(multihost.share(range(len(bugs))))
    tokenizer = policy.engine.tokenizer
    figures, records, right, faults, done = {}, [], [], 0, 0
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
                RolloutSeed(config.seed),
                Observer(progress=show),
            )
            rollouts, passed, broken = verify_groups(rollouts, samples, policy.verifier)
            right.append(comparison.count_right(rollouts, passed))
            if done:
                figures |= sampled_figures(rollouts, passed, samples)
            else:
                figures |= greedy_figures(rollouts, passed)
            records += [
                describe(rollout, tokenizer, temperature) | {"passed": bool(ok)}
                for rollout, ok in zip(rollouts, passed, strict=True)
            ]
            faults, done = faults + broken, done + mine * samples
    if faults:
        figures["faults"] = faults
    if policy.verifier.level:  # else nothing runs, or in no process of its own
        figures["in_child"] = count_in_child(bugs, right[0])
    figures["temperature"] = config.temperature
    figures["outcomes"] = comparison.by_bug(bugs, *right, samples=config.samples)
    if multihost.first():
        write_records(path, records)
    return figures | {"seconds": round(time.perf_counter() - started, 1)}


def verify_groups(
    rollouts: list[Rollout], samples: int, verifier: Verifier
) -> tuple[list[Rollout], np.ndarray, int]:
    """Verify rollouts: (those of bugs without a broken episode, `verify`, broken ones).

    The samples of a bug stand in a row.
    """
    passed = verify(rollouts, verifier)  # which may break some more
    kept, broken = drop_faults(rollouts, samples)
    whole = {id(rollout) for rollout in kept}
    return kept, passed[[id(rollout) in whole for rollout in rollouts]], broken


def verify(rollouts: Sequence[Rollout], verifier: Verifier) -> np.ndarray:
    """Return for each final program if it passes the shown and the hidden tests, bool.

    The shown tests ran when the program came about. The hidden ones run here, for the
    programs that pass the shown ones. An episode whose program breaks the sandbox there
    gets the status "fault".

    Raises:
      SandboxError: Half of the episodes broke.
    """
    passed = np.array([r.passed for r in rollouts], bool)
    indices = [
        i for i, r in enumerate(rollouts) if passed[i] and r.bug.task.hidden_test_list
    ]
    jobs = [
        (r.code, r.bug.task.hidden_test_list, r.bug.task.test_setup_code)
        for r in (rollouts[i] for i in indices)
    ]
    try:
        answers = verifier.map(jobs)
    except SandboxError:  # one of them, so each by itself
        answers = [
            _ask(verifier, rollouts[i], job)
            for i, job in zip(indices, jobs, strict=True)
        ]
        faults = [r.results[-1].fault for r in rollouts if r.status == "fault"]
        if 2 * len(faults) >= len(rollouts):
            raise
    for index, result in zip(indices, answers, strict=True):
        passed[index] = result is not None and result.passed
    return passed


def _ask(verifier: Verifier, rollout: Rollout, job: tuple) -> Result | None:
    """Return one result; if the sandbox breaks, mark the episode and return None."""
    try:
        return verifier.map([job])[0]
    except SandboxError as error:
        broken = {"status": "fault", "fault": f"SandboxError: {error}"}
        rollout.steps[-1] = dataclasses.replace(rollout.steps[-1], **broken)
        return None


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
      the bugs; the `episode_figures`; "by_corruptions", pass@1 for each number of
      corruptions; "bugs" and "programs", their numbers; "unfit", bugs that leave the
      context no room for a command, and if there are both kinds "fitting_pass@1" over
      the others.
    """
    by_corruptions = collections.defaultdict(list)
    for rollout, ok in zip(rollouts, passed, strict=True):
        by_corruptions[rollout.bug.corruptions].append(bool(ok))
    programs = [program_of(rollout.bug) for rollout in rollouts]
    shown = [rollout.passed for rollout in rollouts]
    rates = {"pass@1": passed, "shown_pass@1": shown}
    return {
        **cluster_intervals(rates, programs),
        **episode_figures(rollouts),
        "by_corruptions": {
            str(n): float(np.mean(oks)) for n, oks in sorted(by_corruptions.items())
        },
        "bugs": len(rollouts),
        "programs": len(set(programs)),
        **_fitting_figures(rollouts, passed, programs),
    }


def _fitting_figures(rollouts, passed, programs) -> dict:
    """Return the number of bugs that do not fit the context, and the others' rate."""
    fits = [bool(r.steps) or r.status != "truncated" for r in rollouts]
    figures: dict = {"unfit": fits.count(False)}
    if any(fits) and not all(fits):
        kept = [i for i, fit in enumerate(fits) if fit]
        rates = {"fitting_pass@1": [passed[i] for i in kept]}
        figures |= cluster_intervals(rates, [programs[i] for i in kept])
    return figures


def unfit_line(figures: dict, max_length: int) -> str:
    """Return one line on the bugs that do not fit the context; "" if all do."""
    if not figures["unfit"]:
        return ""
    line = f"{figures['unfit']} of {figures['bugs']} programs do not fit {max_length}"
    line += f" tokens: pass@1 {rate(figures['pass@1'])} over all"
    if fitting := figures.get("fitting_pass@1"):
        line += f", {rate(fitting)} over those that fit"
    return line


def sampled_figures(
    rollouts: Sequence[Rollout], passed: np.ndarray, samples: int
) -> dict:
    """Return the pass rates of several samples of each bug.

    Args:
      rollouts: All samples of a bug in a row.
      passed: Of each episode, true if its program passes all tests.
      samples: Samples of each bug, C.

    Returns:
      "sampled_pass@1" and "pass@k" for k from 2 to C, without bias; each {"mean",
      "low", "high"} over the bugs; and "sampled", the `episode_figures`.
    """
    right_P = passed.reshape(-1, samples).sum(axis=1)
    rates = {
        f"pass@{k}" if k > 1 else "sampled_pass@1": [
            pass_at_k(samples, int(right), k) for right in right_P
        ]
        for k in range(1, samples + 1)
    }
    programs = [program_of(rollout.bug) for rollout in rollouts[::samples]]
    return cluster_intervals(rates, programs) | {"sampled": episode_figures(rollouts)}


def episode_figures(rollouts: Sequence[Rollout]) -> dict:
    """Return figures of episodes, greedy or sampled ones.

    Returns:
      "by_status", their numbers; "by_turn", the share of episodes that first passed at
      that turn; "malformed", the share of commands; "turns" and "sampled_tokens", the
      means of an episode.
    """
    steps = [step for r in rollouts for step in r.steps]
    first_pass: collections.Counter = collections.Counter()
    for rollout in rollouts:
        turns = [e for e, result in enumerate(rollout.results) if result.passed]
        first_pass.update(turns[:1])
    return {
        "by_status": dict(collections.Counter(r.status for r in rollouts)),
        "by_turn": {str(e): first_pass[e] / len(rollouts) for e in sorted(first_pass)},
        "malformed": float(np.mean([step.malformed for step in steps] or [0.0])),
        "turns": len(steps) / len(rollouts),
        "sampled_tokens": sum(sum(r.episode.mask) for r in rollouts) / len(rollouts),
    }


def count_in_child(bugs: Sequence[Bug], passed: Mapping[str, bool]) -> dict:
    """Return the bugs with a test that the sandbox judges in the program's process.

    Returns:
      {"bugs": their number, "passed": ids of those that the greedy episode repaired}.
    """
    found = {bug.bug_id for bug in bugs if in_child(bug.task)}
    repaired = [name for name, ok in passed.items() if ok and name in found]
    return {"bugs": len(found), "passed": repaired}


def notes(figures: dict) -> list[str]:
    """Return lines about an evaluation that its table does not show."""
    lines = []
    if passed := figures.get("in_child", {}).get("passed"):
        named = ", ".join(passed[:3]) + (", ..." if len(passed) > 3 else "")
        lines.append(
            f"{len(passed)} of the greedy passes are of tests that run in the program's"
            f" own process, where a program could forge them (in_child): {named}"
        )
    if faults := figures.get("faults"):
        lines.append(f"{faults} episodes broke; their bugs are left out")
    return lines
