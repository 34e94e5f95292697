import pytest

from convert_list import convert_list


@pytest.mark.parametrize(
    "data, expected",
    [
        ([6, 1, 9], [4, 4, 7]),
        ([5, 0], [20, 0]),
        ([12, 7, 3], [10, 5, 12]),
    ],
)
def test_convert_list(data, expected):
    assert convert_list(data) == expected
