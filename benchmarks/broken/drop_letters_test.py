from drop_letters import drop_letters


class TestDropLetters:
    def test_both_letters(self):
        assert drop_letters("applepear") == "pplpr"

    def test_neither_letter(self):
        text = "dog"
        assert drop_letters(text) == "dog"

    def test_one_letter(self):
        result = drop_letters("catmoon")
        assert result == "ctmoon"
