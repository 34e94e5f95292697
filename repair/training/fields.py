"""Fields of a config as they are written down, and as typed dataclasses."""

import dataclasses
import difflib
import types
import typing

from repair.errors import UserError


def from_dict(values: dict, kind, prefix: str = ""):
    """A dataclass of a config from its fields by name; those that lack have defaults.

    Args:
      values: As a ConfigDict, a checkpoint or a workdir's JSON has them; sections are
        dicts.
      kind: The dataclass; nested ones and tuples of one type are understood.
      prefix: What stands before its fields' names in what users read.

    Raises:
      UserError: A field is unknown, of another type, or refused by its dataclass.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    for name in values:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, 1)
            hint = f"; did you mean {prefix}{near[0]}?" if near else ""
            raise UserError(f"the config has no field {prefix}{name}{hint}")
    read = {
        name: _value(hints[name], value, f"{prefix}{name}")
        for name, value in values.items()
    }
    try:
        return kind(**read)
    except ValueError as error:  # a dataclass's own check of its fields
        raise UserError(f"config section {prefix or '(top)'} {error}") from error


def _value(hint, value, name: str):
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise UserError(f"config field {name} is a section, found {value!r}")
        return from_dict(value, hint, f"{name}.")
    if isinstance(hint, types.GenericAlias):  # tuple[X, ...]
        item = typing.get_args(hint)[0]
        if not isinstance(value, tuple | list):
            raise UserError(f"config field {name} is {value!r}, expected a tuple")
        return tuple(_value(item, v, f"{name}[{i}]") for i, v in enumerate(value))
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise UserError(
            f"config field {name} is {value!r} ({type(value).__name__}), expected"
            f" {hint.__name__}"
        )
    return value


def flatten(tree: dict, separator: str = ".", prefix: str = "") -> dict:
    """The leaves of nested dicts, by the names on the way to them."""
    flat = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, separator, f"{prefix}{name}{separator}")
        else:
            flat[prefix + name] = value
    return flat
