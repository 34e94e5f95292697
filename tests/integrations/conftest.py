"""Bugs of generated tasks, and environments that share one sandbox."""

import pytest
from scripted import MAX_TURNS

from repair.env import Environment, Rewards
from repair.integrations.problems import Problems
from repair.sandbox import Sandbox
from repair.tasks.bugs import CorruptionConfig, make_bugs
from repair.tasks.load import load_tasks


@pytest.fixture(scope="session")
def sandbox():
    with Sandbox(workers=2) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def bugs(sandbox):
    tasks = load_tasks("generated/train", count=4)
    return make_bugs(tasks, sandbox, CorruptionConfig(per_task=2, max_corruptions=1))


@pytest.fixture(scope="session")
def problems(sandbox, bugs):
    def make_environment():
        return Environment(sandbox, Rewards(turn_cost=0.125), max_turns=MAX_TURNS)

    return Problems(bugs, make_environment)
