from word_count import count_words


def test_each_word_once():
    assert count_words("one two") == {"one": 1, "two": 1}


def test_repeated_words():
    assert count_words("The cat and the dog and the bird")["the"] == 3


def test_an_empty_text():
    assert count_words("") == {}
