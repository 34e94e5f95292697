"""How a command of the editor is spelt: from state to state, by the text of a token.

A state is ("literal", what was read), ("number", verb, what it is so far),
("separator", verb, characters of it), ("old", k), ("text",) or ("end",). Within REPW's
old text k is twice the characters of a separator that may have begun, and one more if
any old text came before.
"""

from repair.env.editor import SEPARATOR

_VERBS = ("ADDL", "REPL", "DELL", "REPW")
MAX_LINES = 199  # of a program; lines beyond cannot be addressed
# Stands for the piece that can follow wherever an old text is on the line so far.
ALIVE = "\n"
SPACED = " " + SEPARATOR
OLD_STATES = 2 * len(SPACED)
LITERALS = tuple(f"### {verb} " for verb in _VERBS) + ("### EXIT\n",)


def walk(state: tuple, text: str):
    """From the fixed parts and numbers: (state, check, piece of old text), or None.

    A check is () or (kind, verb, number): "begin" if the number may be that or go on,
    "be" if it must be that; or ("any", *verbs) if one of these must be possible.
    """
    check: tuple = ()
    digits = False
    for place, character in enumerate(text):
        kind = state[0]
        if kind == "literal":
            state, check = _after_literal(state[1] + character, check)
        elif kind == "number":
            _, verb, number = state
            if character in "0123456789" and (number or character != "0"):
                number = 10 * number + int(character)
                state = ("number", verb, number) if number <= MAX_LINES + 1 else None
                check, digits = ("begin", verb, number), True
            elif number and character == " " and verb != "DELL":
                # With the number in the same token, the line would be known too late.
                if digits and verb == "REPW":
                    return None
                state, check = ("separator", verb, 1), ("be", verb, number)
            elif number and character == "\n" and verb == "DELL":
                state, check = ("end",), ("be", verb, number)
            else:
                return None
        elif kind == "separator":
            _, verb, k = state
            if character != SPACED[k]:
                return None
            state = ("separator", verb, k + 1)
            if k + 1 == len(SPACED):
                state = ("old", 0) if verb == "REPW" else ("text",)
        elif kind == "old":
            step = walk_old(0, text[place:])
            if step is None:
                return None
            after, need = step
            # What may be a separator may turn out to be old text, so all must match.
            return after, check, text[place:] if after[0] == "old" else need
        elif kind == "text":
            after = walk_text(text[place:])
            return after and (after, check, "")
        else:
            return None
        if state is None:
            return None
    return state, check, ""


def _after_literal(literal: str, check: tuple):
    verbs = [text for text in LITERALS if text.startswith(literal)]
    if not verbs:
        return None, check
    if literal == "### EXIT\n":
        return ("end",), check
    if literal in LITERALS:
        return ("number", literal[4:8], 0), ("begin", literal[4:8], 0)
    names = tuple(text[4:8] for text in verbs)
    return ("literal", literal), ("any", *names)


def walk_text(text: str):
    """Within a free text: the state after it, or None."""
    if "\r" in text or "\n" in text[:-1]:
        return None
    return ("end",) if text.endswith("\n") else ("text",)


def walk_old(state: int, text: str):
    """Within an old text: (state, piece that must be on the line), or None.

    The old text ends at the first separator. While one may have begun, there are two
    readings; a token is allowed if one of them still is possible. A token that shows
    the other reading to be right needs an old text that was on the line so far.
    """
    begun, nonempty = divmod(state, 2)
    open_before, disproved = begun > 0, False
    start: int | None = None  # of the separator within this token
    for place, character in enumerate(text):
        if character in "\r\n\ufffd":
            return None
        if character == SPACED[begun]:
            if begun == 0:
                start = place
                nonempty = int(nonempty or place > 0)
            begun += 1
            if begun == len(SPACED):
                after = walk_text(text[place + 1 :])
                if not nonempty or not after:
                    return None
                return after, text[: start or 0] or (ALIVE if disproved else "")
            continue
        nonempty, disproved = 1, disproved or open_before
        begun = int(character == " ")
        start = place if begun else None
    need = text
    if begun and nonempty:
        need = text[: start or 0] or (ALIVE if disproved else "")
    return ("old", 2 * begun + nonempty), need
