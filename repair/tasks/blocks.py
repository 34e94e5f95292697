"""The words of the generated language: names, predicates, maps, arguments.

A phrase means the same code in every family, so that a model can carry what it
learned in one family to the next, and a task's text settles its program.
"""

import dataclasses
import random
from collections.abc import Callable

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
WORDS = (
    "ant", "apple", "bat", "bird", "book", "cat", "corn", "dog", "door", "egg",
    "fish", "goat", "hat", "hill", "ice", "kite", "lamp", "lion", "map", "moon",
    "nest", "owl", "pan", "pear", "rain", "rose", "sand", "ship", "star", "sun",
    "tea", "tree", "van", "wolf", "yak", "zoo", "banana", "window", "orange", "tiger",
)  # fmt: skip
LETTERS = "aeiounrstlgd"


@dataclasses.dataclass(frozen=True)
class Sketch:
    """A function before it has tests.

    Attributes:
      name: The function's name.
      params: Its parameters.
      body: Lines of its body, indented from the `def` by four blanks a level.
      text: What it does, in English.
      draw: Draws one tuple of arguments.
    """

    name: str
    params: tuple[str, ...]
    body: tuple[str, ...]
    text: str
    draw: Callable[[random.Random], tuple]

    @property
    def code(self) -> str:
        head = f"def {self.name}({', '.join(self.params)}):"
        return "\n".join([head, *(f"    {line}" for line in self.body)])


def function_name(
    rng: random.Random,
    verbs: tuple[str, ...],
    nouns: tuple[str, ...] = ("items", "nums", "values", "list"),
) -> str:
    """A function's name: one of the verbs and one of the nouns."""
    return f"{rng.choice(verbs)}_{rng.choice(nouns)}"


def names(rng: random.Random, *kinds: str) -> tuple[str, ...]:
    """One name of each kind, no two the same."""
    taken: list[str] = []
    for kind in kinds:
        taken.append(rng.choice([n for n in NAMES[kind] if n not in taken]))
    return tuple(taken)


def predicate(rng: random.Random, x: str) -> tuple[str, str]:
    """A condition on the integer x: (what follows "are", expression)."""
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


def mapping(rng: random.Random, x: str) -> tuple[str, str]:
    """A map of the integer x: (what follows an item, expression)."""
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


def word_predicate(rng: random.Random, w: str) -> tuple[str, str]:
    """A condition on the word w: (what follows "that", expression)."""
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


def word_mapping(rng: random.Random, w: str) -> tuple[str, str]:
    """A map of the word w: (a participle, expression)."""
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


def ints(rng: random.Random, low: int = 3, high: int = 5) -> list[int]:
    """A short list of small integers."""
    return [rng.randint(0, 12) for _ in range(rng.randint(low, high))]


def one_list(rng: random.Random) -> tuple:
    """Arguments of a function of one list of integers."""
    return (ints(rng),)


def words(rng: random.Random, low: int = 2, high: int = 4) -> list[str]:
    """A short list of different short words."""
    return rng.sample(WORDS, rng.randint(low, high))


def table(rng: random.Random) -> dict[str, int]:
    """A small dictionary from letters to integers."""
    keys = rng.sample("abcdefg", rng.randint(2, 3))
    return {key: rng.randint(0, 12) for key in keys}


def grid(rng: random.Random) -> list[list[int]]:
    """Two short rows of small integers."""
    return [[rng.randint(0, 12) for _ in range(rng.randint(1, 3))] for _ in range(2)]
