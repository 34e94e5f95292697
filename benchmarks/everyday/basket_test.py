from basket import Basket


def test_an_empty_basket_costs_nothing():
    assert Basket().total() == 0


def test_amounts_count():
    basket = Basket()
    basket.add("apple", 2, amount=3)
    basket.add("bread", 4)
    assert basket.total() == 10


def test_the_discount_is_taken_off():
    basket = Basket(discount=50)
    basket.add("cheese", 8)
    assert basket.total() == 4
