r"""A state's text: what the tool shows, a line "***" and one line of feedback.

The line editor shows its program with numbered lines, so that a state reads

    L 1 def double(x):
    L 2     return x
    ***
    test 1: got 2

and after *** nothing means that all tests pass. A tool of one's own shows what it
likes, in whole lines.
"""

_RULE = "***\n"


def join_state(shown: str, feedback: str) -> str:
    r"""The text of a state.

    Args:
      shown: What the tool shows, each line with its "\n".
      feedback: One line without its "\n"; "" if all tests pass.
    """
    return f"{shown}{_RULE}{feedback}\n"


def split_state(state: str) -> tuple[str, str]:
    """(shown, feedback) of a state's text; the inverse of `join_state`.

    Of "", the state of an episode that never began, both are "".
    """
    before, end, feedback = state.removesuffix("\n").rpartition("\n")
    return (before + end).removesuffix(_RULE), feedback


def number_lines(lines: list[str]) -> str:
    """Lines as the line editor shows them, numbered from 1."""
    return "".join(f"L {n} {line}\n" for n, line in enumerate(lines, start=1))


def unnumber_lines(shown: str) -> list[str]:
    """The lines of what a tool shows; numbers go, if every line has its own."""
    lines = shown.split("\n")[:-1]
    numbers = [f"L {n} " for n in range(1, len(lines) + 1)]
    pairs = list(zip(lines, numbers, strict=True))
    if all(line.startswith(number) for line, number in pairs):
        lines = [line[len(number) :] for line, number in pairs]
    return lines
