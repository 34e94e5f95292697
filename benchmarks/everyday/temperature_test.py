import pytest
from temperature import to_fahrenheit


@pytest.mark.parametrize(("celsius", "expected"), [(0, 32), (100, 212), (-40, -40)])
def test_known_points(celsius, expected):
    assert to_fahrenheit(celsius) == expected
