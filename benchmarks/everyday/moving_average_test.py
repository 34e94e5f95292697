import pytest
from moving_average import moving_average


@pytest.fixture
def values():
    return [1, 2, 3, 4]


def test_pairs(values):
    assert moving_average(values, 2) == [1.5, 2.5, 3.5]


def test_all_at_once(values):
    assert moving_average(values, 4) == [2.5]
