import pytest
from roman import from_roman


@pytest.mark.parametrize(
    ("numeral", "number"),
    [("III", 3), ("IV", 4), ("XIV", 14), ("MCMXC", 1990)],
)
def test_numerals(numeral, number):
    assert from_roman(numeral) == number
