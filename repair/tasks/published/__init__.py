"""Published evaluation sets in formats of their own: readers, and checks of them."""
