def is_leap(year):
    """Return True if the year is a leap year of the Gregorian calendar."""
    if year % 400 == 0:
        return True
    if year % 100 == 0:
        return True
    return year % 4 == 0
