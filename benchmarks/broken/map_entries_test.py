assert map_entries({"a": 3, "d": 0}) == {"a": 8, "d": 5}
assert map_entries({"c": 12}) == {"c": 17}
assert map_entries({"b": 7, "e": 1, "f": 4}) == {"b": 12, "e": 6, "f": 9}
