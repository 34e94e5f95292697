assert pick_items([7, 2, 6]) == [21, 18]
assert pick_items([1, 5]) == []
assert pick_items([9, 6, 11, 3]) == [27, 18, 33]
