"""Write docs/config.md from the config dataclasses: python docs/make_config.py.

Meanings are the "Attributes:" of their docstrings; ranges come from trying values.
"""

import dataclasses
import inspect
import pathlib
import re
from collections.abc import Iterator

from repair.errors import UserError
from repair.training.config import Config, defaults, read

HEAD = """# Config

Every field of a run's config, as `python docs/make_config.py` reads it from the
dataclasses that `repair/training/config.py` joins. Set a field in a file of `configs/`,
or by `--config.SECTION.FIELD=VALUE` on the command line. The range holds the bounds
of the field alone; rules that join two fields are part of the meaning.
"""
TRIED = {int: (-9, -1, 0, 1, 2, 3), float: (-9.0, 0.0, 1e-6, 0.999, 1.0, 1.001)}
CHOICES = r"(?:one|some) of ([\w, ]+)"


def page() -> str:
    """Return the text of docs/config.md."""
    return HEAD + "".join(tables(Config(), ""))


def tables(values, path: str) -> Iterator[str]:
    """Yield the table of a section, then those of the sections in it."""
    kinds = [kind for kind in type(values).__mro__ if dataclasses.is_dataclass(kind)]
    docs = "\n".join(inspect.cleandoc(kind.__doc__) for kind in kinds)
    yield f"\n## {path or 'Top level'}\n\n{docs.splitlines()[0]}\n\n"
    yield "| field | type | default | meaning | range |\n|---|---|---|---|---|\n"
    meanings = dict(re.findall(r"^  (\w+): (.*(?:\n    .*)*)", docs, re.M))
    sections = []
    for field in dataclasses.fields(values):
        name, value = f"{path}.{field.name}".lstrip("."), getattr(values, field.name)
        if dataclasses.is_dataclass(value):
            sections.append((value, name))
            continue
        kind = f"{field.type}" if "[" in f"{field.type}" else field.type.__name__
        meaning = " ".join(meanings[field.name].split())
        cells = (f"`{name}`", kind, f"`{value!r}`", meaning, bounds(name, value))
        yield f"| {' | '.join(cells)} |\n"
    for value, name in sections:
        yield from tables(value, name)


def bounds(name: str, value) -> str:
    """Return the values that the checks accept for a field, "" for all."""
    if type(value) not in TRIED:
        choices = re.search(CHOICES, refusal(name, type(value)("?")))
        return choices[1] if choices else ""
    tried = TRIED[type(value)]
    good = tuple(x for x in tried if not refusal(name, x))
    first = tried.index(good[0]) if good else 0
    if len(good) < 2 or good != tried[first : first + len(good)]:
        return ""  # another field decides
    lower = "above 0" if good[0] == 1e-6 else f"at least {good[0]:g}"
    upper = {1.0: "at most 1", 0.999: "below 1"}.get(good[-1])
    return ", ".join(filter(None, (lower if good[0] != tried[0] else "", upper)))


def refusal(name: str, value) -> str:
    """Return the message that refuses a value, "" if it is accepted."""
    config = defaults()
    if name.startswith("sampler."):
        config.stages = ("eval",)  # RLVR refuses top-k and top-p
    config.update_from_flattened_dict({name: value})
    try:
        read(config)
    except UserError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    pathlib.Path(__file__).with_name("config.md").write_text(page(), encoding="utf-8")
