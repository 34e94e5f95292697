"""Signs of a collapsing run in its metrics, in plain words."""

from collections.abc import Sequence

import numpy as np

WINDOW = 10  # steps that a figure is averaged over
SPAN = 50  # steps over which a reward may not halve
LEAST_ENTROPY = 0.01  # nats a token
MOST_MALFORMED = 0.5
MOST_GAP = 0.1  # nats a token between sampler and trainer


def new_alarms(rows: Sequence[dict]) -> list[str]:
    """Return the alarms that the last step has raised, and the one before had not."""
    known = alarms(rows[:-1])
    return [text for name, text in alarms(rows).items() if name not in known]


def alarms(rows: Sequence[dict]) -> dict[str, str]:
    """Return the alarms after the last of a stage's steps: sentences by short names.

    Args:
      rows: The metrics of all steps so far, in order, with "reward", "malformed",
        and, where there was an update, "entropy" and "log_prob_gap".
    """
    found = {}
    if len(rows) < WINDOW:
        return found

    def mean(name: str, rows) -> float | None:
        values = [row[name] for row in rows if row.get(name) is not None]
        return float(np.mean(values)) if values else None

    last = rows[-WINDOW:]
    now = mean("reward", last)
    if len(rows) >= SPAN + WINDOW:
        then = mean("reward", rows[-SPAN - WINDOW : -SPAN])
        if then > 0 and now < then / 2:
            found["reward"] = (
                f"the reward has fallen from {then:.2f} to {now:.2f} over {SPAN} steps;"
                " try a lower rlvr.optimizer.learning_rate, or more rlvr.loss.kl_coef"
            )
    entropy = mean("entropy", last)
    if entropy is not None and entropy < LEAST_ENTROPY:
        found["entropy"] = (
            f"the policy has next to no entropy left ({entropy:.4f} nats a token), so"
            " that all samples of a group are alike; try rlvr.loss.entropy_coef or a"
            " higher rlvr.temperature"
        )
    malformed = mean("malformed", last)
    if malformed is not None and malformed > MOST_MALFORMED:
        found["malformed"] = (
            f"{malformed:.0%} of the commands are malformed; train SFT for longer"
            " (sft.steps), or lower rlvr.temperature"
        )
    gap = mean("log_prob_gap", last)
    if gap is not None and gap > MOST_GAP:
        found["gap"] = (
            f"sampler and trainer differ by {gap:.2f} nats a token; try"
            " rlvr.loss.importance_cap=2.0, or float32 (model.dtype)"
        )
    return found
