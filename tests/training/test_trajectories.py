"""Records of episodes: what was sampled, and what the update made of it."""

import dataclasses
import json

import numpy as np
import pytest

from repair.env.environment import StepResult
from repair.rollout.rollout import Rollout
from repair.text.episodes import PROMPT, Episode
from repair.training import trajectories
from repair.training.advantages import AdvantageConfig
from repair.training.batches import make_batches
from repair.training.rlvr_config import RlvrConfig

CONFIG = RlvrConfig(row_length=64, rows=1)


def played(tokenizer, bug, sample, rewards, status="max_turns"):
    """Return an episode with a command a reward, cut by the host after each."""
    episode, steps = Episode(), []
    episode.append([1, 2], PROMPT)
    for e, reward in enumerate(rewards):
        episode.append(tokenizer.encode("***\n"))
        ids = tokenizer.encode(f"### DELL {e}")
        episode.append(ids, e, [-0.5 / (i + 1) for i in range(len(ids))])
        episode.append(tokenizer.end_ids)
        steps.append(StepResult(f"s{e + 1}", reward, False, None, False, e == 0))
    steps[-1] = dataclasses.replace(steps[-1], done=True, status=status)
    commands = [f"### DELL {e}" for e in range(len(rewards))]
    initial = StepResult("s0", 0.0, False, None, False, False)
    return Rollout(bug, sample, episode, initial, steps, commands, "x = 1")


@pytest.fixture
def rollouts(tokenizer, bugs):
    return [
        played(tokenizer, bugs[0], 0, [0.0, 1.0]),
        played(tokenizer, bugs[0], 1, [-0.5]),
        played(tokenizer, bugs[1], 0, [-0.5]),
        played(tokenizer, bugs[1], 1, [-0.5]),
        played(tokenizer, bugs[0], 2, [0.0], status="fault"),
    ]


def test_tokens_are_those_sampled_with_their_log_probs(tokenizer, rollouts):
    record = trajectories.describe(rollouts[0], tokenizer, 0.8)
    first, second = record["turns"]
    assert "".join(first["tokens"]) == "### DELL 0"  # without what the host added
    assert "".join(second["tokens"]) == "### DELL 1"
    count = len(first["tokens"])
    assert first["log_probs"] == [round(-0.5 / (i + 1), 6) for i in range(count)]
    assert (first["state"], second["state"]) == ("s0", "s1")
    assert record["last_state"] == "s2"
    assert first["malformed"] and not second["malformed"]
    assert record["return"] == 1.0 and record["temperature"] == 0.8
    assert record["corruptions"] == 1


def test_ids_that_only_the_model_knows_are_shown(tokenizer, bugs):
    episode = Episode()
    episode.append([tokenizer.vocab_size + 7], 0, [-1.0])
    first, last = (StepResult("", 0.0, d, None, False, False) for d in (False, True))
    rollout = Rollout(bugs[0], 0, episode, first, [last], [""], "")
    record = trajectories.describe(rollout, tokenizer, 1.0)
    assert record["turns"][0]["tokens"] == [f"<{tokenizer.vocab_size + 7}>"]


@pytest.mark.parametrize("options", [{}, {"estimator": "rloo"}])
def test_advantages_are_those_that_the_update_packs(tokenizer, rollouts, options):
    config = dataclasses.replace(CONFIG, advantages=AdvantageConfig(**options))
    found = trajectories.describe_step(rollouts, tokenizer, config, 3)
    assert [record["learnt"] for record in found] == [True, True, False, False, False]
    assert all(record["step"] == 3 for record in found)
    batches, _ = make_batches(rollouts, config)
    packed = set()
    for batch in batches:
        packed |= set(np.unique(batch.advantages[batch.mask > 0]).tolist())
    learnt = [t["advantage"] for r in found if r["learnt"] for t in r["turns"]]
    assert packed == set(np.float32(learnt).tolist())
    assert [t["return_to_go"] for t in found[0]["turns"]] == [1.0, 1.0]
    assert [t["advantage"] for t in found[2]["turns"]] == [0.0]
    assert "advantage" not in found[4]["turns"][0]


def test_a_config_says_which_steps_are_kept(tokenizer, rollouts, tmp_path):
    def kept(every):
        config = dataclasses.replace(CONFIG, trajectories_every=every)
        folder = tmp_path / str(every)
        for step in range(1, 9):
            trajectories.keep_step(folder, rollouts, tokenizer, config, step, step == 8)
        files = sorted((folder / trajectories.FOLDER).glob("*"))
        return [int(path.stem.removeprefix("rlvr_")) for path in files]

    assert kept(3) == [1, 3, 6, 8]
    assert kept(0) == []
    lines = (
        (tmp_path / "3" / trajectories.FOLDER / "rlvr_6.jsonl").read_text().splitlines()
    )
    config = dataclasses.replace(CONFIG, trajectories_every=3)
    again = trajectories.describe_step(rollouts, tokenizer, config, 6)
    assert [json.loads(line) for line in lines] == again


def test_only_the_first_process_writes(tokenizer, rollouts, tmp_path, monkeypatch):
    monkeypatch.setattr(trajectories.multihost, "first", lambda: False)
    trajectories.keep_step(tmp_path, rollouts, tokenizer, CONFIG, 1, False)
    assert list(tmp_path.iterdir()) == []


def test_less_than_never_is_refused():
    with pytest.raises(ValueError, match="trajectories_every is -1"):
        RlvrConfig(trajectories_every=-1)
