"""Episodes as records, lines of JSON in a workdir's trajectories/.

`eval_<stage>.jsonl` holds an evaluation, `rlvr_<step>.jsonl` the episodes of a step of
RLVR. Fields of a record:

  bug_id, sample    identity of the episode; the samples of one bug are a group
  temperature       its commands were drawn at, 0 for greedy
  corruptions       of the bug; 0 when unknown
  text, tests       the task
  status            how it ended
  passed_shown      true if the program passes the shown tests at the end
  return            the sum of its rewards
  code, last_state  the program at the end, and the state that shows it
  turns             one a command: the state that it answers, the command, its tokens
                    (as text) and their log_probs, the reward, true or false for
                    malformed and for passing the shown tests after it

An evaluation adds `passed`: true if the program passes the hidden tests too. RLVR adds
`step`, `learnt` (true if the update used the episode), and to each turn its
return_to_go and advantage.
"""

import json
import pathlib
from collections.abc import Sequence

from repair.model import multihost
from repair.rollout.rollout import Rollout
from repair.text.tokenizer import Tokenizer
from repair.training.advantages import returns_to_go
from repair.training.batches import advantages_of, trainable
from repair.training.workdir import write_whole

FOLDER = "trajectories"
# Digits after the point of a log-prob: as many as float32 has for a likely token.
_DIGITS = 6


def describe(rollout: Rollout, tokenizer: Tokenizer, temperature: float) -> dict:
    """Return one episode as a record, with the fields that all records share."""
    turns = [
        {
            "state": before.state_text,
            "command": command,
            "tokens": [],
            "log_probs": [],
            "reward": step.reward,
            "malformed": step.malformed,
            "passed": step.passed,
        }
        for before, command, step in zip(
            rollout.results[:-1], rollout.commands, rollout.steps, strict=True
        )
    ]
    episode = rollout.episode
    for i, turn, log_prob in zip(
        episode.ids, episode.turns, episode.log_probs, strict=True
    ):
        if turn >= 0:
            # Ids that only the model knows have no text.
            turns[turn]["tokens"].append(tokenizer.decode([i]) or f"<{i}>")
            turns[turn]["log_probs"].append(round(log_prob, _DIGITS))
    return {
        "bug_id": rollout.bug.bug_id,
        "sample": rollout.sample,
        "temperature": temperature,
        "corruptions": rollout.bug.corruptions,
        "text": rollout.bug.task.text,
        "tests": list(rollout.bug.task.test_list),
        "status": rollout.status,
        "passed_shown": bool(rollout.passed),
        "return": sum(turn["reward"] for turn in turns),
        "turns": turns,
        "last_state": rollout.results[-1].state_text,
        "code": rollout.code,
    }


def describe_step(
    rollouts: Sequence[Rollout], tokenizer: Tokenizer, config, step: int
) -> list[dict]:
    """Return the records of a step of RLVR, with advantages as its update has them."""
    records = [
        describe(rollout, tokenizer, config.temperature)
        | {"step": step, "learnt": False}
        for rollout in rollouts
    ]
    by_rollout = {id(r): record for r, record in zip(rollouts, records, strict=True)}
    kept = trainable(rollouts)
    advantages, active, _ = advantages_of(kept, config.advantages)
    for rollout, values, learnt in zip(kept, advantages, active, strict=True):
        record = by_rollout[id(rollout)]
        record["learnt"] = bool(learnt)
        returns = returns_to_go(rollout.rewards)
        for turn, ahead, value in zip(record["turns"], returns, values, strict=True):
            turn |= {"return_to_go": float(ahead), "advantage": float(value)}
    return records


def keep_step(
    workdir, rollouts, tokenizer: Tokenizer, config, step: int, last: bool
) -> None:
    """Write a step's records if the config wants those of this step.

    Steps count from 1, as in metrics.jsonl; the config is the section `rlvr`.
    """
    every = config.trajectories_every
    wanted = every and (step == 1 or last or step % every == 0)
    if wanted and multihost.first():
        path = pathlib.Path(workdir) / FOLDER / f"rlvr_{step}.jsonl"
        write_records(path, describe_step(rollouts, tokenizer, config, step))


def write_records(path, records: Sequence[dict]) -> None:
    """Write a file of records, whole or not at all."""
    write_whole(path, "".join(json.dumps(record) + "\n" for record in records))
