"""Families of functions: templates in a small notation, and draws from them.

A family is a block of lines; blank lines separate blocks.

    keep|filter: list item out = []
    ? what, condition = predicate {item}
    > <Return the items|Keep the items> that are {what}.
    if {condition}:
        {out}.append({item})

- `* ` marks a family held out of train, validation and test.
- The first line holds the verbs of the function's name, then nouns if they are not
  those of `NOUNS`, then the kinds of names that the body needs. The first kind is the
  parameter; a comma after a kind makes the next one a parameter too. With `= START`
  the body is that of a loop over the first kind, into the last: `out = []`, the loop,
  `return out`, or after `-> RESULT` another result.
- `?` draws values: a number (`2..5`), one of some alternatives (`a/b | c/d` for two
  values), a phrase of `PHRASES` (`predicate {item}`), one `letter`, two `letters`, or
  the function's `name`, which is otherwise drawn last.
- `>` is the text, in which `<a|b>` draws one of the alternatives.
- `@` draws the arguments: a number of a range or an entry of `ARGUMENTS`, by default
  the entry of the first kind.
- The rest is the body.

The order of draws is names, `?` lines, text, the function's name. It must not change:
published results name their tasks by split and seed.
"""

import dataclasses
import random
import re
from collections.abc import Callable, Sequence

from repair.tasks.generated.templates_numbers import NUMBERS
from repair.tasks.generated.templates_text import TEXTS
from repair.tasks.generated.vocabulary import ARGUMENTS, LETTERS, NOUNS, PHRASES, names

_CHOICE = re.compile(r"<([^>]*)>")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


@dataclasses.dataclass(frozen=True)
class Sketch:
    """A function before it has tests.

    Attributes:
      name: The function's name.
      code: The program.
      text: The task in English.
      draw: Draws one tuple of arguments.
    """

    name: str
    code: str
    text: str
    draw: Callable[[random.Random], tuple]


@dataclasses.dataclass(frozen=True)
class Family:
    """One template, taken apart."""

    verbs: Sequence[str]
    nouns: Sequence[str]
    parameters: tuple[str, ...]
    kinds: tuple[str, ...]
    draws: tuple[str, ...]
    text: str
    arguments: str
    body: str

    def sketch(self, rng: random.Random) -> Sketch:
        """Draw one function."""
        drawn = names(rng, self.kinds)
        for line in self.draws:
            if line == "name":
                drawn["name"] = self._name(rng)
            else:
                _draw(line, drawn, rng)
        text = _CHOICE.sub(lambda match: rng.choice(match[1].split("|")), self.text)
        name = drawn.get("name") or self._name(rng)
        head = f"def {name}({', '.join(drawn[kind] for kind in self.parameters)}):\n"
        return Sketch(
            name=name,
            code=head + self.body.format_map(drawn),
            text=text.format_map(drawn),
            draw=lambda rng: self._draw_arguments(rng, drawn),
        )

    def _name(self, rng: random.Random) -> str:
        return f"{rng.choice(self.verbs)}_{rng.choice(self.nouns)}"

    def _draw_arguments(self, rng: random.Random, drawn: dict[str, str]) -> tuple:
        if bounds := _RANGE.fullmatch(self.arguments):
            return (rng.randint(int(bounds[1]), int(bounds[2])),)
        return ARGUMENTS[self.arguments](rng, drawn)


def _draw(line: str, drawn: dict[str, str], rng: random.Random) -> None:
    """Draw the values of one `?` line into `drawn`."""
    left, _, source = line.partition(" = ")
    targets = left.split(", ")
    phrase, _, expression = source.partition(" ")
    if bounds := _RANGE.fullmatch(source):
        values = [str(rng.randint(int(bounds[1]), int(bounds[2])))]
    elif phrase in PHRASES:
        lines = PHRASES[phrase].strip().split("\n")
        inner = {"x": expression.format_map(drawn)}
        for each in lines:
            if each.startswith("? "):
                _draw(each[2:], inner, rng)
        chosen = rng.choice([each for each in lines if not each.startswith("? ")])
        values = [part.format_map(inner) for part in chosen.split("/")]
    elif source == "letter":
        values = [rng.choice(LETTERS)]
    elif source == "letters":
        values = rng.sample(LETTERS, 2)
    else:
        chosen = rng.choice(source.split(" | "))
        parts = chosen.split("/") if len(targets) > 1 else [chosen]
        values = [part.format_map(drawn) for part in parts]
    drawn.update(zip(targets, values, strict=True))


def families(held_out: bool = False) -> list[Family]:
    """Read the families: those of train, validation and test, or those held out."""
    blocks = f"{NUMBERS}{TEXTS}".strip().split("\n\n")
    return [
        parse_family(block) for block in blocks if block.startswith("* ") == held_out
    ]


def parse_family(block: str) -> Family:
    """Read one block of templates."""
    head, *lines = block.removeprefix("* ").split("\n")
    function, _, needs = head.partition(": ")
    needs, _, start = needs.partition(" = ")
    verbs, _, nouns = function.partition(" ")
    kinds = tuple(needs.replace(",", "").split())
    marked = {mark: [x[2:] for x in lines if x[:2] == f"{mark} "] for mark in "?>@"}
    body = [line for line in lines if line[:2] not in ("? ", "> ", "@ ")]
    if start:
        body = _loop(kinds, start, body)
    (text,) = marked[">"]
    return Family(
        verbs=verbs.split("|"),
        nouns=nouns.split("|") if nouns else NOUNS[kinds[0]],
        parameters=kinds[: 1 + needs.count(",")],
        kinds=kinds,
        draws=tuple(marked["?"]),
        text=text,
        arguments=marked["@"][0] if marked["@"] else kinds[0],
        body="\n".join(f"    {line}" for line in body),
    )


def _loop(kinds: Sequence[str], start: str, body: list[str]) -> list[str]:
    """Put a body into a loop over the first kind, which fills the last."""
    whole, *parts, last = (f"{{{kind}}}" for kind in kinds)
    start, _, result = start.partition(" -> ")
    loops = [f"for {parts[0]} in {whole}:"]
    if kinds[0] == "rows":
        loops.append(f"    for {parts[1]} in {parts[0]}:")
    elif len(parts) > 1:
        loops = [f"for {parts[0]}, {parts[1]} in {whole}.items():"]
    indented = ["    " * len(loops) + line for line in body]
    return [f"{last} = {start}", *loops, *indented, f"return {result or last}"]
