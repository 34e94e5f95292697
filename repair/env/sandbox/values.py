"""Values on their way back from a program: read, shown, and made fit for a line.

The forms are those of the zygote's `encode`: a list of a tag and its content. They
come from the program's own process, so anything may be in them.
"""

import re

SHOWN_CHARS = 60  # of a value, in feedback
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_PATH = re.compile(r" \(/[^)]*\)")  # as in "cannot import name 'x' from 'y' (/...)"
_CONTAINERS = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


class Opaque(Exception):
    """A value of no plain type, named by the message: it never equals a literal."""


def decode(form):
    """The value of a tagged form.

    Raises:
      Opaque: The value, or one within it, is of no plain type.
      ValueError, TypeError, LookupError, ArithmeticError, RecursionError: No such
        form.
    """
    tag, *rest = form
    if tag == "none":
        return None
    if tag == "bool":
        return rest[0] is True
    if tag == "str":
        return str(rest[0])
    if tag == "int":
        return int(rest[0], 16)
    if tag == "float":
        return float.fromhex(rest[0])
    if tag == "complex":
        return complex(float.fromhex(rest[0]), float.fromhex(rest[1]))
    if tag == "bytes":
        return bytes.fromhex(rest[0])
    if tag == "dict":
        return {decode(key): decode(value) for key, value in rest[0]}
    if tag in _CONTAINERS:
        return _CONTAINERS[tag](decode(item) for item in rest[0])
    raise Opaque(f"<{one_line(str(rest[0]), SHOWN_CHARS)}>")


def show(value) -> str:
    """A short repr, with sets in sorted order and no addresses."""
    return one_line(_repr(value), SHOWN_CHARS)


def one_line(text: str, most: int) -> str:
    """Text without addresses, host paths, line breaks or more than `most` characters.

    What cannot be printed becomes a space, as what can break a line or cannot be
    encoded is among it.
    """
    text = _PATH.sub("", _ADDRESS.sub("", text))
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    text = text.strip()
    return text if len(text) <= most else text[:most] + "..."


def _repr(value) -> str:
    if isinstance(value, set | frozenset) and value:
        inner = "{" + ", ".join(sorted(map(_repr, value))) + "}"
        return inner if isinstance(value, set) else f"frozenset({inner})"
    if isinstance(value, list):
        return "[" + ", ".join(map(_repr, value)) + "]"
    if isinstance(value, tuple):
        inner = ", ".join(map(_repr, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, dict):
        pairs = (f"{_repr(k)}: {_repr(v)}" for k, v in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, int) and value.bit_length() > 512:
        return hex(value)  # decimal digits are quadratic, and refused beyond 4,300
    return repr(value)
