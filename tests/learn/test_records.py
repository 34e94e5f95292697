"""Records of episodes: what was sampled, and what the update made of it."""

import dataclasses
import json

import numpy as np
import pytest

from repair.env.environment import Turn
from repair.learn import records, rlvr
from repair.learn.advantages import AdvantageConfig
from repair.learn.rlvr import RlvrConfig
from repair.learn.trajectory import Rollout
from repair.text.episodes import PROMPT, Episode

CONFIG = RlvrConfig(row_length=64, rows=1)


def played(codec, bug, sample, rewards, status="max_turns"):
    """An episode with a command a reward, cut by the host after each."""
    episode, turns = Episode(), [Turn("s0", 0.0, False, None, False, False)]
    episode.append([1, 2], PROMPT)
    for e, reward in enumerate(rewards):
        episode.append(codec.encode("***\n"))
        ids = codec.encode(f"### DELL {e}")
        episode.append(ids, e, [-0.5 / (i + 1) for i in range(len(ids))])
        episode.append(codec.end_ids)
        turns.append(Turn(f"s{e + 1}", reward, False, None, False, e == 0))
    turns[-1] = dataclasses.replace(turns[-1], done=True, status=status)
    commands = [f"### DELL {e}" for e in range(len(rewards))]
    return Rollout(bug, sample, episode, turns, commands, "x = 1")


@pytest.fixture
def rollouts(codec, bugs):
    return [
        played(codec, bugs[0], 0, [0.0, 1.0]),
        played(codec, bugs[0], 1, [-0.5]),
        played(codec, bugs[1], 0, [-0.5]),
        played(codec, bugs[1], 1, [-0.5]),
        played(codec, bugs[0], 2, [0.0], status="fault"),
    ]


def test_tokens_are_those_sampled_with_their_log_probs(codec, rollouts):
    record = records.describe(rollouts[0], codec, 0.8)
    first, second = record["turns"]
    assert "".join(first["tokens"]) == "### DELL 0"  # without what the host added
    assert "".join(second["tokens"]) == "### DELL 1"
    count = len(first["tokens"])
    assert first["log_probs"] == [round(-0.5 / (i + 1), 6) for i in range(count)]
    assert (first["state"], second["state"]) == ("s0", "s1")
    assert record["last_state"] == "s2"
    assert first["malformed"] and not second["malformed"]
    assert record["return"] == 1.0 and record["temperature"] == 0.8


def test_ids_that_only_the_model_knows_are_shown(codec, bugs):
    episode = Episode()
    episode.append([codec.vocab_size + 7], 0, [-1.0])
    turns = [Turn("", 0.0, done, None, False, False) for done in (False, True)]
    rollout = Rollout(bugs[0], 0, episode, turns, [""], "")
    record = records.describe(rollout, codec, 1.0)
    assert record["turns"][0]["tokens"] == [f"<{codec.vocab_size + 7}>"]


@pytest.mark.parametrize("options", [{}, {"estimator": "rloo"}, {"gamma": 0.5}])
def test_advantages_are_those_that_the_update_packs(codec, rollouts, options):
    config = dataclasses.replace(CONFIG, advantages=AdvantageConfig(**options))
    found = records.describe_step(rollouts, codec, config, 3)
    assert [record["learnt"] for record in found] == [True, True, False, False, False]
    assert all(record["step"] == 3 for record in found)
    batches, _, _ = rlvr.make_batches(rollouts, config)
    packed = set()
    for batch in batches:
        packed |= set(np.unique(batch.advantages[batch.mask > 0]).tolist())
    learnt = [t["advantage"] for r in found if r["learnt"] for t in r["turns"]]
    assert packed == set(np.float32(learnt).tolist())
    gamma = config.advantages.gamma
    assert [t["return_to_go"] for t in found[0]["turns"]] == [gamma, 1.0]
    assert [t["advantage"] for t in found[2]["turns"]] == [0.0]
    assert "advantage" not in found[4]["turns"][0]


def test_a_config_says_which_steps_are_kept(codec, rollouts, tmp_path):
    def kept(every):
        config = dataclasses.replace(CONFIG, trajectories_every=every)
        folder = tmp_path / str(every)
        for step in range(1, 9):
            records.keep_step(folder, rollouts, codec, config, step, step == 8)
        files = sorted((folder / records.FOLDER).glob("*"))
        return [int(path.stem.removeprefix("rlvr_")) for path in files]

    assert kept(3) == [1, 3, 6, 8]
    assert kept(0) == []
    lines = (tmp_path / "3" / records.FOLDER / "rlvr_6.jsonl").read_text().splitlines()
    config = dataclasses.replace(CONFIG, trajectories_every=3)
    again = records.describe_step(rollouts, codec, config, 6)
    assert [json.loads(line) for line in lines] == again


def test_only_the_first_process_writes(codec, rollouts, tmp_path, monkeypatch):
    monkeypatch.setattr(records.processes, "first", lambda: False)
    records.keep_step(tmp_path, rollouts, codec, CONFIG, 1, False)
    assert list(tmp_path.iterdir()) == []


def test_less_than_never_is_refused():
    with pytest.raises(ValueError, match="trajectories_every is -1"):
        RlvrConfig(trajectories_every=-1)
