assert zip_items([5, 9], [2, 4]) == [4, 6]
assert zip_items([7, 1, 8], [3, 0, 8]) == [5, 2, 1]
assert zip_items([10, 2], [1, 1]) == [10, 2]
