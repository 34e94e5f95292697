"""The shortest edit script between two programs."""

import re

from repair.env import editor

# Names and numbers, runs of operators, runs of blanks, any other character by itself.
_TOKEN = re.compile(r"\w+|[-+*/%<>=!]+|\s+|.")

# Outweighs the characters of any script, so that the number of commands comes first.
_COMMAND = 10**6


def top_down(faulty: list[str], correct: list[str]) -> list[editor.Command]:
    """Return the shortest script between two programs, from the top line down.

    Shortest in commands, then in characters to write. Among equals, a line is kept
    rather than changed, changed rather than deleted, deleted rather than added, at
    the earliest line; so each command depends only on the program as it then stands
    and on the correct one: top_down(apply(faulty, c[0]), correct) == c[1:].

    A changed line is a REPW where replacing one word everywhere on the line is
    exact, else a REPL. Line numbers hold when a command's turn comes. Time is
    quadratic in the lines.
    """
    table, changes = _costs(faulty, correct)
    commands: list[editor.Command] = []
    i = j = 0
    while i < len(faulty) or j < len(correct):
        n = j + 1  # all above is already as it should be
        both = i < len(faulty) and j < len(correct)
        if both and faulty[i] == correct[j]:
            i, j = i + 1, j + 1
        elif both and table[i][j] == changes[i, j][0] + table[i + 1][j + 1]:
            words = changes[i, j][1]
            commands.append(
                editor.ReplaceWord(n, *words)
                if words
                else editor.ReplaceLine(n, correct[j])
            )
            i, j = i + 1, j + 1
        elif i < len(faulty) and table[i][j] == _COMMAND + table[i + 1][j]:
            commands.append(editor.DeleteLine(n))
            i += 1
        else:
            commands.append(editor.AddLine(n, correct[j]))
            j += 1
    return commands


def _costs(faulty, correct):
    """Return the costs from faulty[i:] to correct[j:], and each pair's change."""
    n, m = len(faulty), len(correct)
    old = [_TOKEN.findall(line) for line in faulty]
    new = [_TOKEN.findall(line) for line in correct]
    adds = [_COMMAND + len(line) for line in correct]
    table = [[0] * (m + 1) for _ in range(n + 1)]
    changes = {}
    for j in range(m - 1, -1, -1):
        table[n][j] = table[n][j + 1] + adds[j]
    for i in range(n - 1, -1, -1):
        row, below = table[i], table[i + 1]
        row[m] = below[m] + _COMMAND
        for j in range(m - 1, -1, -1):
            if faulty[i] == correct[j]:
                row[j] = below[j + 1]  # to keep an equal line is never longer
                continue
            words = _one_word(old[i], new[j], faulty[i], correct[j])
            written = sum(map(len, words)) if words else len(correct[j])
            changes[i, j] = _COMMAND + written, words
            row[j] = min(
                _COMMAND + written + below[j + 1],
                _COMMAND + below[j],
                adds[j] + row[j + 1],
            )
    return table, changes


def _one_word(old, new, before, after) -> tuple[str, str] | None:
    """Return the shortest (word, replacement) that makes `after` of `before`.

    A REPW reaches into longer words (i in items), so one replacement may show as
    several differing words.
    """
    if len(old) != len(new):
        return None
    pairs = {(a, b) for a, b in zip(old, new, strict=True) if a != b}
    for a, b in sorted(pairs, key=lambda pair: (len(pair[0]), pair)):
        if a.strip() and b.strip() and before.replace(a, b) == after:
            return a, b
    return None
