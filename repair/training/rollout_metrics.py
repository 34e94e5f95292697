"""Metrics of the rollouts of one step of RLVR: outcomes, groups, commands."""

import collections
import re
from collections.abc import Sequence

import numpy as np

from repair.env import editor
from repair.rollout.rollout import Rollout

# Metrics by the status of ended episodes; their shares add up to 1.
STATUSES = {
    "solved": "solved",
    "exited_unsolved": "gave_up",
    "max_turns": "max_turns",
    "truncated": "truncated",
    "fault": "faults",
}
# Of a command that names no verb of the line editor.
_OTHER = "other"
_VERB = re.compile(rf"{re.escape(editor.PREFIX)}({'|'.join(editor.VERBS)})(?: |$)")


def rollout_metrics(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Return metrics of rollouts; docs/rlvr.md has the table of all names."""
    steps = [step for r in rollouts for step in r.steps]
    rewards = [r.rewards.sum() for r in rollouts]
    sampled = sum(sum(r.episode.mask) for r in rollouts)
    statuses = collections.Counter(r.status for r in rollouts)
    return {
        "reward": float(np.mean(rewards)),
        "reward_std": float(np.std(rewards)),
        **{n: statuses[status] / len(rollouts) for status, n in STATUSES.items()},
        "passed": float(np.mean([r.passed for r in rollouts])),
        **group_shares(rollouts),
        "malformed": float(np.mean([step.malformed for step in steps] or [0.0])),
        **malformed_by_verb(rollouts),
        "turns": len(steps) / len(rollouts),
        "episodes": len(rollouts),
        "sampled_tokens": sampled,
        "tokens_per_command": sampled / max(len(steps), 1),
    }


def group_shares(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Return the shares of groups whose episodes are all, partly and never solved.

    "pass@group" is the share with any solved episode. Broken episodes do not count; a
    group of nothing else is left out.
    """
    groups: dict[str, list[bool]] = {}
    for rollout in rollouts:
        if rollout.status != "fault":
            solved = groups.setdefault(rollout.bug.bug_id, [])
            solved.append(rollout.status == "solved")
    count = max(len(groups), 1)
    full = sum(map(all, groups.values())) / count
    some = sum(map(any, groups.values())) / count
    return {
        "groups_solved": full,
        "groups_mixed": some - full,
        "groups_unsolved": len(groups) / count - some,
        "pass@group": some,
    }


def malformed_by_verb(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Return the malformed commands of each verb, as shares of all commands.

    They add up to "malformed". Names are "malformed_ADDL" and the like, of the verbs
    that occur; commands without a verb of the line editor are "malformed_other".
    """
    found: dict[str, int] = {}
    count = 0
    for rollout in rollouts:
        for command, step in zip(rollout.commands, rollout.steps, strict=True):
            match = _VERB.match(command)
            name = match[1] if match else _OTHER
            found[name] = found.get(name, 0) + step.malformed
            count += 1
    return {f"malformed_{name}": found[name] / count for name in sorted(found)}
