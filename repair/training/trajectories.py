"""Episodes as records, lines of JSON in a workdir's trajectories/.

`eval_<stage>.jsonl` holds an evaluation, `rlvr_<step>.jsonl` the episodes that a step
of RLVR learnt from. A record has

  bug_id, sample    which episode this is; the samples of one bug are a group
  temperature       its commands were drawn at, 0 for greedy
  text, tests       the task
  status            how it ended
  passed_shown      whether the program passes the shown tests at the end
  return            the sum of its rewards
  code, last_state  the program at the end, and the state that shows it
  turns             one a command: the state that it answers, the command, its tokens
                    (as text) and their log_probs, the reward, whether it was malformed,
                    whether the program passes the shown tests after it

and, of an evaluation, `passed`, whether it passes the hidden tests too; of RLVR `step`,
`learnt`, whether the update used it, and with each turn the return_to_go and the
advantage that it had there.
"""

import json
import pathlib
from collections.abc import Sequence

from repair.model import multihost
from repair.rollout.rollouts import Rollout
from repair.text.tokenizer import Tokenizer
from repair.training import rlvr
from repair.training.advantages import returns_to_go
from repair.training.rlvr import RlvrConfig
from repair.training.workdir import write_whole

FOLDER = "trajectories"
# Digits after the point of a log-prob: as many as float32 has for a likely token.
_DIGITS = 6


def describe(rollout: Rollout, tokenizer: Tokenizer, temperature: float) -> dict:
    """One episode as a record, without what only evaluation or RLVR knows of it."""
    tokens: list[list] = [[] for _ in rollout.commands]
    episode = rollout.episode
    for i, turn, log_prob in zip(
        episode.ids, episode.turns, episode.log_probs, strict=True
    ):
        if turn >= 0:
            # Ids that only the model knows have no text.
            text = tokenizer.decode([i]) or f"<{i}>"
            tokens[turn].append((text, round(log_prob, _DIGITS)))
    rewards = rollout.rewards.tolist()
    turns = [
        {
            "state": rollout.turns[e].state_text,
            "command": command,
            "tokens": [text for text, _ in tokens[e]],
            "log_probs": [log_prob for _, log_prob in tokens[e]],
            "reward": rewards[e],
            "malformed": rollout.turns[e + 1].malformed,
            "passed": rollout.turns[e + 1].passed,
        }
        for e, command in enumerate(rollout.commands)
    ]
    return {
        "bug_id": rollout.bug.bug_id,
        "sample": rollout.sample,
        "temperature": temperature,
        "text": rollout.bug.task.text,
        "tests": list(rollout.bug.task.test_list),
        "status": rollout.status,
        "passed_shown": bool(rollout.passed),
        "return": sum(rewards),
        "turns": turns,
        "last_state": rollout.turns[-1].state_text,
        "code": rollout.code,
    }


def describe_evaluation(
    judged: Sequence[tuple[Rollout, bool, float]], tokenizer: Tokenizer
) -> list[dict]:
    """The records of an evaluation, from what `evaluation.evaluate` returns."""
    return [
        describe(rollout, tokenizer, temperature) | {"passed": passed}
        for rollout, passed, temperature in judged
    ]


def describe_step(
    rollouts: Sequence[Rollout], tokenizer: Tokenizer, config: RlvrConfig, step: int
) -> list[dict]:
    """The records of a step of RLVR, with what its update made of the rewards."""
    records = [describe(rollout, tokenizer, config.temperature) for rollout in rollouts]
    for record in records:
        record |= {"step": step, "learnt": False}
    counted = {id(r): record for r, record in zip(rollouts, records, strict=True)}
    kept = rlvr.trainable(rollouts)
    advantages, active, _ = rlvr.advantages_of(kept, config)
    for rollout, values, learnt in zip(kept, advantages, active, strict=True):
        record = counted[id(rollout)]
        record["learnt"] = bool(learnt)
        returns = returns_to_go(rollout.rewards, config.advantages.gamma)
        for turn, ahead, value in zip(record["turns"], returns, values, strict=True):
            turn |= {"return_to_go": float(ahead), "advantage": float(value)}
    return records


def keep_step(
    workdir, rollouts, tokenizer: Tokenizer, config: RlvrConfig, step: int, last: bool
) -> None:
    """Writes a step's records if the config wants those of this step.

    Args:
      workdir: The run's folder.
      rollouts: What the step's update learnt from.
      tokenizer: The tokenizer that they were sampled with.
      config: Says how often, and how advantages come about.
      step: From 1, as in metrics.jsonl.
      last: Whether the stage ends with it.
    """
    every = config.trajectories_every
    wanted = every and (step == 1 or last or step % every == 0)
    if wanted and multihost.first():
        path = pathlib.Path(workdir) / FOLDER / f"rlvr_{step}.jsonl"
        write_records(path, describe_step(rollouts, tokenizer, config, step))


def write_records(path, records: Sequence[dict]) -> None:
    """Writes a file of records, whole or not at all."""
    write_whole(path, "".join(json.dumps(record) + "\n" for record in records))
