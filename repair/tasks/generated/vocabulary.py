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


# Phrases about an expression {x}, in the notation of `family`: draws, then
# alternatives of words and code.
PHRASES = {
    "predicate": """
? c = 2..10
? d = 3..7
greater than {c}/{x} > {c}
less than {c}/{x} < {c}
at least {c}/{x} >= {c}
at most {c}/{x} <= {c}
not equal to {c}/{x} != {c}
divisible by {d}/{x} % {d} == 0
even/{x} % 2 == 0
odd/{x} % 2 == 1
""",
    "mapping": """
? c = 1..9
? d = 2..9
plus {c}/{x} + {c}
minus {c}/{x} - {c}
times {d}/{x} * {d}
modulo {d}/{x} % {d}
squared/{x} * {x}
negated/-{x}
""",
    "word_predicate": """
? c = 2..4
? letter = letter
have more than {c} letters/len({x}) > {c}
have at most {c} letters/len({x}) <= {c}
contain '{letter}'/'{letter}' in {x}
lack '{letter}'/'{letter}' not in {x}
end with '{letter}'/{x}.endswith('{letter}')
""",
    "word_mapping": """
? c = 2..4
? cut = 2..3
? mark = ! | ? | * | + | - | _ | # | .
in upper case/{x}.upper()
reversed/{x}[::-1]
capitalized/{x}.capitalize()
cut to {c} letters/{x}[:{c}]
without its first {cut} letters/{x}[{cut}:]
followed by '{mark}'/{x} + '{mark}'
preceded by '{mark}'/'{mark}' + {x}
repeated {c} times/{x} * {c}
""",
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
