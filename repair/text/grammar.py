"""The editor's commands as an automaton over the tokens of any tokenizer.

Tells which tokens can go on to a command that parses and applies to the program as it
stands: a verb, a line that is there, the separators, a text, a newline, and for REPW an
old text that is on the line. `Grammar` holds what depends on the tokenizer alone,
`Grammar.rows` what depends on the programs; `repair.model.grammar` runs it.

States are those of `repair.text.spelling`, numbered: first those of the fixed parts and
the numbers, then those within REPW's old text, then the free text, then the end.
"""

import dataclasses
import functools

import jax
import numpy as np

from repair.env.editor import SEPARATOR
from repair.errors import UserError
from repair.text.spelling import (
    ALIVE,
    LITERALS,
    MAX_LINES,
    OLD_STATES,
    SPACED,
    walk,
    walk_old,
    walk_text,
)
from repair.text.tokenizer import Tokenizer

MAX_CHARS = 255  # of a line; what is beyond cannot be in an old text
_LONGEST = 24  # tokens up to a text, at most; less room than that is refused


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Tables:
    """What depends on the tokenizer alone. States s below S; c classes of tokens.

    Attributes:
      class_V: Class of every token; 0 for those that only texts may hold.
      next_SC: The state after a token of the class, -1 if it is not allowed.
      check_SC: Which of a row's checks must hold.
      entry_SC: The piece of old text in a token that enters it, 0 for none.
      line_S: The line number that the state has read, 0 for none.
      old_next_KV: As next_SC, from the states within an old text.
      old_need_KV: The piece that must be on the line, 0 for none.
      piece_V: The piece that is the whole token.
      text_next_V: As next_SC, from within a free text.
      steps_K: Tokens that it takes, at least, to get out of an old text.
      length_U: Characters of every piece.
    """

    class_V: np.ndarray
    next_SC: np.ndarray
    check_SC: np.ndarray
    entry_SC: np.ndarray
    line_S: np.ndarray
    old_next_KV: np.ndarray
    old_need_KV: np.ndarray
    piece_V: np.ndarray
    text_next_V: np.ndarray
    steps_K: np.ndarray
    length_U: np.ndarray


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rows:
    """What depends on the programs. L lines, E places of pieces on a line.

    Attributes:
      checks: bool (B, checks): which numbers each verb may have or begin with.
      pieces: int32 BLE, pieces that are on each line; line 0 is none.
      starts: int16 BLE, where they begin; past all ends for padding.
    """

    checks: np.ndarray
    pieces: np.ndarray
    starts: np.ndarray


class Grammar:
    """The automaton of one tokenizer.

    Args:
      tokenizer: The tokenizer.
      vocab_size: V, at least that of the tokenizer.
      max_new: Most tokens of a command.

    Raises:
      UserError: Commands of max_new tokens are too short to be kept whole.
    """

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, max_new: int):
        if max_new < _LONGEST:
            raise UserError(
                f"text.max_command is {max_new}; with sampler.grammar it must be"
                f" {_LONGEST} or more, or a command may be cut before it is one"
            )
        self._pieces: dict[str, int] = {"": 0, ALIVE: 1}
        self._ids: dict[tuple, int] = {}  # of states
        self._checks: dict[tuple, int] = {(): 0}
        self._widths = [2, 1]  # L and E so far; they only grow
        self.tables = self._tabulate(token_texts(tokenizer), vocab_size)
        self._all_checks = tuple(self._checks)
        self._starts = _by_first_character(self._pieces)
        self._places = functools.lru_cache(65536)(self._find_places)

    def rows(self, programs: list[list[str]]) -> Rows:
        """What commands are possible for programs, given as lines; [] for no row."""
        found = [
            [self._places(line[:MAX_CHARS]) for line in lines[:MAX_LINES]]
            for lines in programs
        ]
        for axis, need in enumerate(
            (
                1 + max(map(len, found), default=0),
                max((len(p) for places in found for p in places), default=0),
            )
        ):
            while self._widths[axis] < need:
                self._widths[axis] *= 2
        shape = (len(programs), *self._widths)
        pieces, starts = np.zeros(shape, np.int32), np.zeros(shape, np.int16)
        starts[:] = MAX_CHARS + 1
        checks = np.zeros((len(programs), len(self._checks)), bool)
        for row, places in enumerate(found):
            for line, at in enumerate(places, 1):
                pieces[row, line, : len(at)] = at[:, 0]
                starts[row, line, : len(at)] = at[:, 1]
            filled = tuple(len(at) > 0 for at in places)
            checks[row] = _checks(self._all_checks, len(programs[row]), filled)
        return Rows(checks, pieces, starts)

    def reserve(self, programs: list[list[str]]) -> None:
        """Makes `rows` wide enough for programs twice as long, and as wide, as these.

        Wider ones, when they come, change the shape of the rows, and what runs with
        them on a device compiles anew.
        """
        self.rows([[line * 2 for line in lines] * 2 for lines in programs])

    def _find_places(self, line: str) -> np.ndarray:
        """All (piece, start) on a line."""
        places = [
            (piece, start)
            for start, character in enumerate(line)
            for text, piece in self._starts.get(character, ())
            if line.startswith(text, start)
        ]
        return np.array(places, np.int32).reshape(-1, 2)

    def _tabulate(self, texts: dict[int, str], V: int) -> Tables:
        classes: dict[int, int] = {}
        edges = []  # (state, token, next state, check, entry)
        candidates = _candidates(texts)
        queue = [("literal", "")]
        self._state(queue[0])
        while queue:
            here = queue.pop()
            for token, text in candidates[here[0]]:
                step = walk(here, text)
                if step is None:
                    continue
                after, check, entry = step
                if after[0] in ("literal", "number", "separator"):
                    if after not in self._ids:
                        queue.append(after)
                    self._state(after)
                edges.append((here, token, after, check, entry))
                classes.setdefault(token, len(classes) + 1)
        S, C = len(self._ids), len(classes) + 1
        next_SC = np.full((S, C), -1, np.int32)
        check_SC, entry_SC = np.zeros((2, S, C), np.int32)
        for here, token, after, check, entry in edges:
            place = self._ids[here], classes[token]
            next_SC[place] = self._number_of(after, S)
            check_SC[place] = self._checks.setdefault(check, len(self._checks))
            entry_SC[place] = self._piece(entry)
        class_V = np.zeros(V, np.int32)
        class_V[list(classes)] = list(classes.values())
        line_S = np.zeros(S, np.int32)
        for state, number in self._ids.items():
            if state[0] == "number":
                line_S[number] = state[2]
        piece_V = np.zeros(V, np.int32)
        text_next_V = np.full(V, -1, np.int32)
        old_next_KV = np.full((OLD_STATES, V), -1, np.int32)
        old_need_KV = np.zeros((OLD_STATES, V), np.int32)
        for token, text in texts.items():
            if (after := walk_text(text)) is not None:
                text_next_V[token] = self._number_of(after, S)
            for k in range(OLD_STATES):
                if (step := walk_old(k, text)) is not None:
                    old_next_KV[k, token] = self._number_of(step[0], S)
                    old_need_KV[k, token] = self._piece(step[1])
                    piece_V[token] = self._piece(text)
        steps_K = _steps_out(old_next_KV, old_need_KV, S)
        length_U = np.array([len(text) for text in self._pieces], np.int32)
        return Tables(
            *(class_V, next_SC, check_SC, entry_SC, line_S),
            *(old_next_KV, old_need_KV, piece_V, text_next_V, steps_K, length_U),
        )

    def _state(self, state: tuple) -> int:
        return self._ids.setdefault(state, len(self._ids))

    def _number_of(self, state: tuple, S: int) -> int:
        beyond = {"old": S, "text": S + OLD_STATES, "end": S + OLD_STATES + 1}
        if state[0] in beyond:
            return beyond[state[0]] + (state[1] if state[0] == "old" else 0)
        return self._ids[state]

    def _piece(self, text: str) -> int:
        return self._pieces.setdefault(text, len(self._pieces))


def token_texts(tokenizer: Tokenizer) -> dict[int, str]:
    """What every ordinary token adds to a text; specials and empty ones left out.

    Read behind another token, since some tokenizers drop the first one's blank. A
    token that is a part of a character reads as U+FFFD: free texts may hold it.
    """
    added = tokenizer.backend.get_added_tokens_decoder()
    special = {i for i, token in added.items() if token.special}
    head = tokenizer.decode([tokenizer.newline_id])
    texts = {
        i: tokenizer.decode([tokenizer.newline_id, i]).removeprefix(head)
        for i in range(tokenizer.vocab_size)
        if i not in special
    }
    return {i: text for i, text in texts.items() if text}


def _candidates(texts: dict[int, str]) -> dict[str, list[tuple[int, str]]]:
    """Tokens that may go on from each kind of state: few, where there are many."""

    def separates(text):
        return text.startswith(SPACED) or SPACED.startswith(text)

    def spells(text, literal):
        ends = range(1, min(len(text), len(literal)) + 1)
        return text in literal or any(literal.endswith(text[:end]) for end in ends)

    found = {"literal": [], "number": [], "separator": []}
    for token, text in texts.items():
        if any(spells(text, literal) for literal in LITERALS):
            found["literal"].append((token, text))
        if text[0] in "0123456789\n" or separates(text):
            found["number"].append((token, text))
        if text[0] == SEPARATOR[0]:
            found["separator"].append((token, text))
    return found


def _steps_out(old_next_KV, old_need_KV, S: int) -> np.ndarray:
    """Fewest tokens from every state of an old text to its end."""
    steps_K = np.full(OLD_STATES, 99, np.int32)
    for _ in range(OLD_STATES):
        for k in range(OLD_STATES):
            sure = old_next_KV[k][(old_next_KV[k] >= 0) & (old_need_KV[k] == 0)]
            inner = sure[sure < S + OLD_STATES] - S
            best = 1 if (sure >= S + OLD_STATES).any() else 99
            if len(inner):
                best = min(best, 1 + int(steps_K[inner].min()))
            steps_K[k] = min(steps_K[k], best)
    # Without old text, one token of it comes first.
    steps_K[::2] = np.minimum(steps_K[::2], 1 + steps_K[1])
    return steps_K


def _by_first_character(pieces: dict[str, int]) -> dict[str, list[tuple[str, int]]]:
    found: dict[str, list[tuple[str, int]]] = {}
    for text, piece in pieces.items():
        if text and text != ALIVE:
            found.setdefault(text[0], []).append((text, piece))
    return found


@functools.lru_cache(4096)
def _checks(checks: tuple, lines: int, filled: tuple[bool, ...]) -> np.ndarray:
    """Whether each check of `walk` holds for a program, some lines of it empty."""
    last = {"ADDL": lines + 1, "REPL": lines, "DELL": lines, "REPW": lines}

    def be(verb, number):
        if not 1 <= number <= min(last[verb], MAX_LINES):
            return False
        return verb != "REPW" or filled[number - 1]

    def begin(verb, number):
        if number > min(last[verb], MAX_LINES):
            return False
        more = range(10 * number + (number == 0), 10 * number + 10)
        return be(verb, number) or any(begin(verb, n) for n in more)

    def holds(check):
        match check:
            case ("be", verb, number):
                return be(verb, number)
            case ("begin", verb, number):
                return begin(verb, number)
            case ("any", *names):
                return "EXIT" in names or any(begin(name, 0) for name in names)
        return True

    return np.array([holds(check) for check in checks])
