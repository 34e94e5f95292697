class Basket:
    """A shopping basket with prices and a discount in percent."""

    def __init__(self, discount=0):
        self.discount = discount
        self.items = []

    def add(self, name, price, amount=1):
        self.items.append((name, price, amount))

    def total(self):
        total = 0
        for name, price, amount in self.items:
            total += price
        return total * (100 - self.discount) / 100
