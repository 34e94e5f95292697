def is_strong(password):
    """Return True for a password of 8 characters with a digit and a capital letter."""
    if len(password) < 8:
        return False
    has_digit = any(c.isdigit() for c in password)
    has_capital = any(c.isupper() for c in password)
    return has_digit or has_capital
