"""A program that parses, and the places of its tree's nodes on its lines."""

import ast
import dataclasses
import io
import tokenize
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from repair.sandbox.syntax import parse_program

# A stretch of a line: its number from 1, begin and end in characters.
Span = tuple[int, int, int]
_ANNOTATIONS = ("annotation", "returns", "type_params")
# A node with a position; the tree's types call each end of it optional.
_Placed = Any


@dataclasses.dataclass(frozen=True)
class Source:
    """A program that parses: its lines, tree and tokens."""

    lines: tuple[str, ...]
    tree: ast.Module
    tokens: tuple[tokenize.TokenInfo, ...]

    @classmethod
    def read(cls, lines: Sequence[str]) -> "Source | None":
        """Parse a program; None if it does not parse or has other line breaks."""
        code = "\n".join(lines)
        if "\r" in code or "\f" in code:
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they concern the program alone
                tree = parse_program(code)
            tokens = tuple(tokenize.generate_tokens(io.StringIO(code).readline))
        except (SyntaxError, ValueError, tokenize.TokenError, RecursionError):
            return None
        return cls(tuple(lines), tree, tokens)

    def begin(self, node: _Placed) -> tuple[int, int]:
        """Return line and column of the first character of a node."""
        return node.lineno, self._column(node.lineno, node.col_offset)

    def end(self, node: _Placed) -> tuple[int, int]:
        """Return line and column after the last character of a node."""
        return node.end_lineno, self._column(node.end_lineno, node.end_col_offset)

    def span(self, node: _Placed) -> Span | None:
        """Return line, begin and end of a node, None for more than one line."""
        (line, start), (last, end) = self.begin(node), self.end(node)
        return (line, start, end) if line == last else None

    def text(self, node: _Placed) -> str:
        """Return the characters of a node that stands on one line."""
        (line, start), (_, end) = self.begin(node), self.end(node)
        return self.lines[line - 1][start:end]

    def operator(self, left: _Placed, right: _Placed) -> tuple[Span | None, str]:
        """Return the place and the sign of the operator between two expressions."""
        begin, end = self.end(left), self.begin(right)
        found = [
            token
            for token in self.tokens
            if begin <= token.start and token.end <= end
            if token.type in (tokenize.OP, tokenize.NAME)
            if token.string not in "()"
        ]
        sign = " ".join(token.string for token in found)
        if len({token.start[0] for token in found}) != 1:
            return None, sign
        return (*found[0].start, found[-1].end[1]), sign

    def _column(self, line: int, offset: int) -> int:
        """Return the characters before an offset, which the tree counts in bytes."""
        return len(self.lines[line - 1].encode()[:offset].decode())


def children(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes below, except for annotations and the inside of f-strings."""
    if isinstance(node, ast.JoinedStr):
        return  # positions in there are wrong before Python 3.12
    for name, value in ast.iter_fields(node):
        if name not in _ANNOTATIONS:
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield child


def walk(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and all below it, as `children` has them."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(children(node))
