"""A list of tasks names the programs of its file that gave none."""

from repair.tasks import TaskList


def test_many_names_are_cut():
    left_out = tuple((str(n), "no tests") for n in range(12))
    loaded = TaskList((), 12, left_out, (("a", "so"), ("b", "so"), ("c", "or so")))
    assert loaded.line() == (
        "0 of 12 programs; left out: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more (no tests)"
        "; changed: a, b (so); changed: c (or so)"
    )
