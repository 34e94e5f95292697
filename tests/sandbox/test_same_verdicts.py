"""Verdicts that hold: by any number of workers, in any order, beside any load."""

import pytest

from benchmarks import references
from repair.tasks import load_tasks


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tasks", "least"),
    [(180, 500), pytest.param(720, 2000, marks=pytest.mark.exhaustive)],
)
def test_verdicts_do_not_depend_on_workers_order_or_load(tasks, least):
    programs = references.make_programs(load_tasks("generated/train", count=tasks), 2)
    assert len(programs) >= least
    first, second = references.ORDERS
    runs = [
        references.judge_all(programs, workers, order, busy)
        for workers, order, busy in (
            (1, first, False),
            (2, second, False),
            (4, first, False),
            (2, second, True),
        )
    ]
    judged = zip(programs, runs[0].verdicts, strict=True)
    assert all(verdict[0] for each, verdict in judged if each.is_reference)
    assert len({verdict[1] for verdict in runs[0].verdicts}) > 3  # mutants fail
    assert not references.differences(programs, runs)
