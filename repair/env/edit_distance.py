"""Edit distance between two texts."""

import os


def levenshtein(a: str, b: str) -> int:
    """Return the least number of characters to insert, delete or replace from a to b.

    Bit-parallel recurrence of Myers 1999 in the form of Hyyrö 2003: two integers hold
    the places where a column of the table rises and falls. O(len(b)) operations on
    integers of len(a) bits; the common prefix and suffix are cut off first.
    """
    start = len(os.path.commonprefix((a, b)))
    a, b = a[start:], b[start:]
    end = len(os.path.commonprefix((a[::-1], b[::-1])))
    a, b = a[: len(a) - end], b[: len(b) - end]
    if not a:
        return len(b)
    places: dict[str, int] = {}
    for i, char in enumerate(a):
        places[char] = places.get(char, 0) | 1 << i
    every, last = (1 << len(a)) - 1, 1 << (len(a) - 1)
    rises, falls, distance = every, 0, len(a)
    for char in b:
        equal = places.get(char, 0)
        diagonal = (((equal & rises) + rises) ^ rises) | equal | falls
        right = falls | (~(diagonal | rises) & every)
        left = rises & diagonal
        distance += bool(right & last) - bool(left & last)
        right = (right << 1 | 1) & every
        left = (left << 1) & every
        rises = left | (~(diagonal | right) & every)
        falls = right & diagonal
    return distance
