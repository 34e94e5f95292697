"""Words of the generated language: names, predicates, maps, arguments.

A phrase means the same code in every family, so that a model can carry over from one
family to the next, and the text of a task settles its program.
"""

import random
from collections.abc import Callable, Mapping

NAMES = {
    "list": ("items", "nums", "values", "data"),
    "item": ("x", "n", "v", "item"),
    "out": ("out", "result", "res", "found"),
    "total": ("total", "acc", "result", "s"),
    "count": ("count", "total", "hits", "c"),
    "words": ("words", "names", "texts", "items"),
    "word": ("w", "word", "name", "t"),
    "text": ("text", "s", "line", "word"),
    "char": ("c", "ch", "letter"),
    "dict": ("d", "table", "scores", "prices"),
    "key": ("k", "key", "name"),
    "value": ("v", "value", "n"),
    "rows": ("rows", "grid", "matrix", "lists"),
    "row": ("row", "line", "part"),
    "number": ("n", "num", "x", "value"),
    "index": ("i", "j", "pos"),
    "best": ("best", "top", "result"),
    "other": ("other", "b", "right", "second"),
}
# Second half of a function's name, by the kind of its first parameter.
NOUNS = {
    "list": ("items", "nums", "values", "list"),
    "number": ("number", "value"),
    "text": ("text", "string", "chars", "letters"),
    "words": ("words", "names", "texts", "strings"),
    "dict": ("table", "dict", "entries", "pairs"),
}
WORDS = (
    "ant", "apple", "bat", "bird", "book", "cat", "corn", "dog", "door", "egg",
    "fish", "goat", "hat", "hill", "ice", "kite", "lamp", "lion", "map", "moon",
    "nest", "owl", "pan", "pear", "rain", "rose", "sand", "ship", "star", "sun",
    "tea", "tree", "van", "wolf", "yak", "zoo", "banana", "window", "orange", "tiger",
)  # fmt: skip
LETTERS = "aeiounrstlgd"


def names(rng: random.Random, kinds: tuple[str, ...]) -> dict[str, str]:
    """Draw a name of each kind, no two the same."""
    taken: dict[str, str] = {}
    for kind in kinds:
        free = [name for name in NAMES[kind] if name not in taken.values()]
        taken[kind] = rng.choice(free)
    return taken


def _predicate(rng: random.Random, x: str) -> tuple[str, str]:
    """Draw a condition on the integer x: words after "are", expression."""
    c, divisor = rng.randint(2, 10), rng.randint(3, 7)
    return rng.choice(
        (
            (f"greater than {c}", f"{x} > {c}"),
            (f"less than {c}", f"{x} < {c}"),
            (f"at least {c}", f"{x} >= {c}"),
            (f"at most {c}", f"{x} <= {c}"),
            (f"not equal to {c}", f"{x} != {c}"),
            (f"divisible by {divisor}", f"{x} % {divisor} == 0"),
            ("even", f"{x} % 2 == 0"),
            ("odd", f"{x} % 2 == 1"),
        )
    )


def _mapping(rng: random.Random, x: str) -> tuple[str, str]:
    """Draw a map of the integer x: words after its name, expression."""
    c, factor = rng.randint(1, 9), rng.randint(2, 9)
    return rng.choice(
        (
            (f"plus {c}", f"{x} + {c}"),
            (f"minus {c}", f"{x} - {c}"),
            (f"times {factor}", f"{x} * {factor}"),
            (f"modulo {factor}", f"{x} % {factor}"),
            ("squared", f"{x} * {x}"),
            ("negated", f"-{x}"),
        )
    )


def _word_predicate(rng: random.Random, w: str) -> tuple[str, str]:
    """Draw a condition on the word w: words after "that", expression."""
    c, letter = rng.randint(2, 4), rng.choice(LETTERS)
    return rng.choice(
        (
            (f"have more than {c} letters", f"len({w}) > {c}"),
            (f"have at most {c} letters", f"len({w}) <= {c}"),
            (f"contain '{letter}'", f"'{letter}' in {w}"),
            (f"lack '{letter}'", f"'{letter}' not in {w}"),
            (f"end with '{letter}'", f"{w}.endswith('{letter}')"),
        )
    )


def _word_mapping(rng: random.Random, w: str) -> tuple[str, str]:
    """Draw a map of the word w: a participle, expression."""
    c, cut, mark = rng.randint(2, 4), rng.randint(2, 3), rng.choice("!?*+-_#.")
    return rng.choice(
        (
            ("in upper case", f"{w}.upper()"),
            ("reversed", f"{w}[::-1]"),
            ("capitalized", f"{w}.capitalize()"),
            (f"cut to {c} letters", f"{w}[:{c}]"),
            (f"without its first {cut} letters", f"{w}[{cut}:]"),
            (f"followed by '{mark}'", f"{w} + '{mark}'"),
            (f"preceded by '{mark}'", f"'{mark}' + {w}"),
            (f"repeated {c} times", f"{w} * {c}"),
        )
    )


# Draws that a template may name: from an expression to one or two strings.
PHRASES: dict[str, Callable[[random.Random, str], tuple[str, ...]]] = {
    "predicate": _predicate,
    "mapping": _mapping,
    "word_predicate": _word_predicate,
    "word_mapping": _word_mapping,
    "letter": lambda rng, _: (rng.choice(LETTERS),),
    "letters": lambda rng, _: tuple(rng.sample(LETTERS, 2)),
}


def _ints(rng: random.Random, low: int = 3, high: int = 5, top: int = 12) -> list[int]:
    return [rng.randint(0, top) for _ in range(rng.randint(low, high))]


def _words(rng: random.Random, low: int, high: int) -> list[str]:
    return rng.sample(WORDS, rng.randint(low, high))


def _table(rng: random.Random) -> dict[str, int]:
    keys = rng.sample("abcdefg", rng.randint(2, 3))
    return {key: rng.randint(0, 12) for key in keys}


def _two_lists(rng: random.Random) -> tuple[list[int], list[int]]:
    first = _ints(rng, 2, 3)
    return first, _ints(rng, len(first), len(first))


def _near_pair(rng: random.Random, goal: int) -> list[int]:
    """Draw three integers, of which two add up to the goal or nearly so."""
    first = rng.randint(1, goal - 1)
    return [first, rng.randint(0, 9), goal - first + rng.randint(-1, 1)]


# Draws of one tuple of arguments, given the values that the template has drawn.
ARGUMENTS: dict[str, Callable[[random.Random, Mapping[str, str]], tuple]] = {
    "list": lambda rng, _: (_ints(rng),),
    "rows": lambda rng, _: ([_ints(rng, 1, 3), _ints(rng, 1, 3)],),
    "text": lambda rng, _: ("".join(rng.sample(WORDS, 2)),),
    "word": lambda rng, _: (rng.choice(WORDS[:20]),),
    "words": lambda rng, _: (_words(rng, 2, 4),),
    "few_words": lambda rng, _: (_words(rng, 1, 3),),
    "dict": lambda rng, _: (_table(rng),),
    "two_lists": lambda rng, _: _two_lists(rng),
    "near_pair": lambda rng, drawn: (_near_pair(rng, int(drawn["goal"])),),
    "repeats": lambda rng, _: (_ints(rng, 2, 4, top=6),),
    "around": lambda rng, drawn: (
        rng.randint(int(drawn["low"]) - 5, int(drawn["high"]) + 5),
    ),
}
