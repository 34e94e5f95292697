from flatten import flatten


def test_a_flat_list_stays():
    assert flatten([1, 2]) == [1, 2]


def test_nested_lists():
    assert flatten([1, [2, [3, 4]], 5]) == [1, 2, 3, 4, 5]
