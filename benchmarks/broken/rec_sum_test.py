import pytest

from rec_sum import rec_sum


@pytest.mark.parametrize("n, expected", [(0, 3), (1, 5), (4, 23)])
def test_rec_sum(n, expected):
    assert rec_sum(n) == expected
