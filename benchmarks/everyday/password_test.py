from password import is_strong


def test_a_strong_one():
    assert is_strong("Passw0rdX")


def test_too_short():
    assert not is_strong("P4ss")


def test_without_a_digit():
    assert not is_strong("PasswordX")


def test_without_a_capital():
    assert not is_strong("passw0rdx")
