"""Edit distance between two texts."""

import os


def levenshtein(a: str, b: str) -> int:
    """Least number of characters inserted, deleted or replaced from a to b.

    The bit-parallel recurrence of Myers 1999 in Hyyrö's form (2003): a column of the
    table is two integers, where it rises and where it falls; O(len(b)) operations
    on integers of len(a) bits. What both begin and end with costs next to nothing.
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
