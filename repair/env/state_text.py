r"""Text of a state: the tool's rendering, a line "***" and one line of feedback.

The line editor renders its program with numbered lines, so that a state reads

    L 1 def double(x):
    L 2     return x
    ***
    test 1: got 2

Empty feedback means that all tests pass. Another tool may render anything, in whole
lines.
"""

_RULE = "***\n"


def join_state(shown: str, feedback: str) -> str:
    r"""Return the text of a state.

    Each line of `shown` ends in "\n"; `feedback` is one line without it.
    """
    return f"{shown}{_RULE}{feedback}\n"


def split_state(state: str) -> tuple[str, str]:
    """Return (shown, feedback) of the text of a state; inverse of `join_state`.

    Both are "" for "", the state of an episode that never began.
    """
    before, end, feedback = state.removesuffix("\n").rpartition("\n")
    return (before + end).removesuffix(_RULE), feedback


def number_lines(lines: list[str]) -> str:
    """Return lines as the line editor renders them, numbered from 1."""
    return "".join(f"L {n} {line}\n" for n, line in enumerate(lines, start=1))


def unnumber_lines(shown: str) -> list[str]:
    """Return the lines of a rendering, without numbers if every line has its own."""
    lines = shown.split("\n")[:-1]
    numbers = [f"L {n} " for n in range(1, len(lines) + 1)]
    pairs = list(zip(lines, numbers, strict=True))
    if all(line.startswith(number) for line, number in pairs):
        lines = [line[len(number) :] for line, number in pairs]
    return lines
