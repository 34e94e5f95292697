"""Signs of a collapsing run in its metrics, in plain words.

An alarm speaks once in a stage: the step that raised it keeps it in metrics.jsonl,
which a resumed run reads, so that neither a flicker nor a resume repeats it.
"""

from collections.abc import Sequence

import numpy as np

WINDOW = 10  # steps that a figure is averaged over
SPAN = 50  # steps over which a reward may not halve
LEAST_ENTROPY = 0.01  # nats a token
MOST_MALFORMED = 0.5
MOST_GAP = 0.1  # nats a token between sampler and trainer
MOST_GAVE_UP = 1 / 3
MOST_TRUNCATED = 0.1  # more than in the first steps
SILENT = 20  # steps without a group that has signal
MOST_KL = 2.0  # nats a token: sevenfold odds at every one
ENTROPY_FACTOR = 2.0  # of the entropy of the first steps
MOST_ENTROPY = 0.5  # nats a token; below it a rise is no collapse
FALL = 0.2  # of a reward that is negative already


def new_alarms(rows: Sequence[dict]) -> dict[str, str]:
    """Return the alarms that no step of the stage has raised before the last.

    Args:
      rows: As for `alarms`; those that raised some have them as "alarms".
    """
    known = {name for row in rows for name in row.get("alarms", ())}
    return {n: text for n, text in alarms(rows).items() if n not in known}


def alarms(rows: Sequence[dict]) -> dict[str, str]:
    """Return what the last of a stage's steps gives cause for: sentences by name.

    Args:
      rows: The metrics of all steps so far, in order. Fields that a step lacks, such
        as "kl" where there was no update, are left out of the means.
    """
    found = _broken(rows) | _silent(rows)
    if len(rows) < WINDOW:
        return found
    first, last = rows[:WINDOW], rows[-WINDOW:]
    found |= _reward(rows) | _entropy(first, last)
    then, now = _mean("truncated", first), _mean("truncated", last)
    if None not in (then, now) and now - then > MOST_TRUNCATED:
        found["truncated"] = (
            f"{now:.0%} of the episodes run out of context, {then:.0%} at the start of"
            " the stage; try a larger text.max_length with rlvr.row_length, or a"
            " rewards.turn_cost"
        )
    # Not the mean: one token that the reference finds impossible is no explosion.
    kls = [row["kl"] for row in last if row.get("kl") is not None]
    if kls and (kl := float(np.median(kls))) > MOST_KL:
        found["kl"] = (
            f"the policy is {kl:.2f} nats a token away from the one before RLVR; try a"
            " lower rlvr.optimizer.learning_rate, or more rlvr.loss.kl_coef"
        )
    for name, field, bound, text in _BOUNDS:
        value = _mean(field, last)
        if value is not None and value > bound:
            found[name] = text.format(value)
    return found


# Name, field, highest mean over the window, and text of an alarm.
_BOUNDS = (
    (
        "malformed",
        "malformed",
        MOST_MALFORMED,
        "{:.0%} of the commands are malformed; train SFT for longer (sft.steps), or"
        " lower rlvr.temperature",
    ),
    (
        "gap",
        "log_prob_gap",
        MOST_GAP,
        "sampler and trainer differ by {:.2f} nats a token; try"
        " rlvr.loss.importance_cap=2.0, or float32 (model.dtype)",
    ),
    (
        "gave_up",
        "gave_up",
        MOST_GAVE_UP,
        "{:.0%} of the episodes give up: they EXIT while a test fails; try"
        " rewards.exit_unsolved=-0.5, or train SFT for longer (sft.steps)",
    ),
)


def _mean(name: str, rows: Sequence[dict]) -> float | None:
    values = [row[name] for row in rows if row.get(name) is not None]
    return float(np.mean(values)) if values else None


def _broken(rows: Sequence[dict]) -> dict[str, str]:
    if not rows or rows[-1].get("faults") != 1:
        return {}
    return {
        "broken": "all episodes of the step broke, so nothing was learnt; something"
        " ends the sandbox's workers: look at the free memory, and try fewer"
        " sandbox_workers"
    }


def _silent(rows: Sequence[dict]) -> dict[str, str]:
    last = rows[-SILENT:]
    silent = [
        row.get("zero_variance_groups", 0) + row.get("gated_groups", 0) for row in last
    ]
    if len(last) < SILENT or min(silent) < 1 - 1e-9:
        return {}
    return {
        "signal": f"for {SILENT} steps no group has had samples that differ in reward,"
        " so nothing is learnt; try easier bugs (rlvr.curriculum, fewer"
        " demos.max_corruptions), more rlvr.samples, or a higher rlvr.temperature"
    }


def _reward(rows: Sequence[dict]) -> dict[str, str]:
    """Return an alarm where the reward has halved, or fallen from below zero."""
    before = rows[-SPAN - WINDOW : -SPAN]
    then, now = _mean("reward", before), _mean("reward", rows[-WINDOW:])
    if len(before) < WINDOW or None in (then, now):
        return {}
    if now >= (then / 2 if then > 0 else then - FALL):
        return {}
    return {
        "reward": f"the reward has fallen from {then:.2f} to {now:.2f} over {SPAN}"
        " steps; try a lower rlvr.optimizer.learning_rate, or more rlvr.loss.kl_coef"
    }


def _entropy(first: Sequence[dict], last: Sequence[dict]) -> dict[str, str]:
    """Return an alarm where the entropy has vanished, or exploded."""
    then, now = _mean("entropy", first), _mean("entropy", last)
    if now is None:
        return {}
    if now < LEAST_ENTROPY:
        return {
            "entropy": f"the policy has next to no entropy left ({now:.4f} nats a"
            " token), so that all samples of a group are alike; try"
            " rlvr.loss.entropy_coef or a higher rlvr.temperature"
        }
    if then is not None and now > max(ENTROPY_FACTOR * then, MOST_ENTROPY):
        return {
            "entropy_high": f"the entropy has risen from {then:.2f} to {now:.2f} nats a"
            " token, towards commands at random; try a lower"
            " rlvr.optimizer.learning_rate, less rlvr.loss.entropy_coef, or more"
            " rlvr.loss.kl_coef"
        }
    return {}
