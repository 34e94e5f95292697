import sum_upto


def test_up_to_the_number_itself():
    assert sum_upto.sum_upto(9) == 18


def test_no_multiple_at_the_end():
    assert sum_upto.sum_upto(8) == 9
    assert sum_upto.sum_upto(13) == 30
