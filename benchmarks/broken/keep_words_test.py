assert keep_words(["lamp", "tea", "tiger"]) == ["lamp", "tiger"]
assert keep_words(["cat", "dog"]) == []
assert keep_words(["banana", "van", "hill"]) == ["banana", "hill"]
