from count_nums import count_nums


def test_counts_even_items():
    assert count_nums([2, 3, 4]) == 2
    assert count_nums([12, 8, 0, 10]) == 4


def test_odd_items_do_not_count():
    assert count_nums([1, 9]) == 0
