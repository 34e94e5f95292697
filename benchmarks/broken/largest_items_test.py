assert largest_items([1, 9, 5]) == 11
assert largest_items([2, 3]) == 6
assert largest_items([8, 12, 0]) == 14
