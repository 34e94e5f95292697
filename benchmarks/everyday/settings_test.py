from settings import parse_settings

TEXT = """
# colours
sky = blue

path = a=b
"""


def test_names_and_values():
    assert parse_settings(TEXT) == {"sky": "blue", "path": "a=b"}


def test_nothing():
    assert parse_settings("") == {}
