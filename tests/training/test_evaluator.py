"""Evaluation during training: the same bugs and demonstrations, and a loss by hand."""

import dataclasses
import types

import jax
import numpy as np
import pytest

from repair.model.sharding import make_mesh
from repair.tasks import Task
from repair.text.episodes import Episode
from repair.training import evaluator
from repair.training.evaluator import Evaluator, choose_tasks, pack_examples
from repair.training.sft import SftConfig


def tasks(count):
    return [Task(i, "t", f"c{i}", ()) for i in range(count)]


def test_the_chosen_tasks_are_the_same_for_every_run():
    chosen = choose_tasks(tasks(100), 10)
    assert chosen == choose_tasks(tasks(100), 10) and len(set(chosen)) == 10
    ids = [task.task_id for task in chosen]
    assert ids == sorted(ids) and ids != list(range(10))
    assert choose_tasks(tasks(3), 10) == tasks(3)


class Nothing:
    """A verifier that is asked for nothing."""

    def map(self, jobs):
        assert not jobs
        return []


def example(length, commands, seed):
    """Return an episode with a command at the end."""
    ids = np.random.default_rng(seed).integers(1, 50, length).tolist()
    episode = Episode()
    episode.append(ids[:-commands])
    episode.append(ids[-commands:], 0, [0.0] * commands)
    return episode


def test_the_loss_is_that_of_each_episode_alone(model, params, monkeypatch):
    """Packed, padded and in parts, as one by one without any packing."""
    config = dataclasses.replace(SftConfig(), rows=2, row_length=24)
    episodes = [example(6 + n, 2 + n % 3, n) for n in range(7)]
    batches = pack_examples([*episodes, example(30, 3, 9)], config, make_mesh(1, 1, 1))
    assert all(b.tokens.shape == (2, 24) for b in batches) and len(batches) > 1
    monkeypatch.setattr(evaluator, "collect_rollouts", lambda *args: [])
    sampler = types.SimpleNamespace(sampling=lambda temperature: None)
    whole = types.SimpleNamespace(sampler=sampler, seed=0, loss_chunk=0)
    policy = types.SimpleNamespace(
        config=whole, engine=None, model=model, verifier=Nothing()
    )
    found = Evaluator(policy, [], batches).figures(params)
    losses, hits = [], []
    for episode in episodes:
        logits, _ = model.forward(params, np.array([episode.ids]))
        for place in np.flatnonzero(episode.mask):
            log_probs = jax.nn.log_softmax(logits[0, place - 1])
            losses.append(-float(log_probs[episode.ids[place]]))
            hits.append(int(log_probs.argmax()) == episode.ids[place])
    assert found["command_loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert found["command_accuracy"] == pytest.approx(np.mean(hits))
    assert found["pass@1"] == 0.0
