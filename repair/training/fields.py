"""Dataclasses of a config, read from nested dicts and checked field by field.

Every message has one form: "config: rlvr.samples is 1, expected 2 or more".
"""

import dataclasses
import difflib
import math
import types
import typing

from repair.errors import UserError


def from_dict(values: dict, kind, prefix: str = ""):
    """Return a dataclass from its fields by name; absent fields take their defaults.

    A string for a tuple of strings is split at its commas.

    Args:
      values: Fields by name, as from a ConfigDict or JSON; sections are dicts.
      kind: The dataclass; nested ones and tuples of one type are understood.
      prefix: Path of the section, such as "rlvr.", for messages.

    Raises:
      UserError: A field is unknown, of another type, or out of range.
    """
    known = {field.name for field in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    for name in values:
        if name not in known:
            raise UserError(unknown_field(name, kind, prefix))
    read = {n: _value(hints[n], value, f"{prefix}{n}") for n, value in values.items()}
    try:
        return kind(**read)
    except ValueError as error:  # the dataclass's own check begins with the field
        raise UserError(f"config: {prefix}{error}") from error


def unknown_field(name: str, kind, prefix: str = "") -> str:
    """Return the message about a field that a section lacks, with the nearest one.

    Args:
      name: The unknown name.
      kind: Dataclass of the section.
      prefix: Path of the section, such as "rlvr.".
    """
    paths = list(_paths(kind))
    last = {path.rsplit(".", 1)[-1]: path for path in reversed(paths)}
    initials = {"".join(part[0] for part in n.split("_")): last[n] for n in last}
    near = [last[n] for n in difflib.get_close_matches(name, last, 1)]
    near += [initials[name]] if name in initials else []
    hint = f"; did you mean {prefix}{near[0]}?" if near else ""
    return f"config: no field {prefix}{name}{hint}"


def _paths(kind, prefix: str = ""):
    """Yield the dotted names of all fields, those of the section itself first."""
    hints = typing.get_type_hints(kind)
    for name in hints:
        yield f"{prefix}{name}"
    for name, hint in hints.items():
        if dataclasses.is_dataclass(hint):
            yield from _paths(hint, f"{prefix}{name}.")


def _value(hint, value, name: str):
    def wrong(expected: str) -> UserError:
        return UserError(f"config: {name} is {value!r}, expected {expected}")

    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise wrong(f"a section with fields, such as {name}.FIELD")
        return from_dict(value, hint, f"{name}.")
    if isinstance(hint, types.GenericAlias):  # tuple[X, ...]
        item = typing.get_args(hint)[0]
        if item is str:
            value = [value] if isinstance(value, str) else value
        if not isinstance(value, tuple | list):
            raise wrong("a tuple")
        if item is str and all(isinstance(v, str) for v in value):
            # "a,b" is how a command line writes a tuple.
            value = [part.strip() for v in value for part in v.split(",")]
        return tuple(_value(item, v, f"{name}[{i}]") for i, v in enumerate(value))
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise wrong(hint.__name__)
    if hint is float and not math.isfinite(value):
        raise wrong("a finite number")
    return value


def flatten(tree: dict, separator: str = ".", prefix: str = "") -> dict:
    """Return the leaves of nested dicts by their paths."""
    flat = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, separator, f"{prefix}{name}{separator}")
        else:
            flat[prefix + name] = value
    return flat
