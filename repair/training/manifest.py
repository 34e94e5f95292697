"""Folders that are whole or not there: checksums of their files, renames into place."""

import hashlib
import json
import os
import shutil
from pathlib import Path

MANIFEST = "manifest.json"
OLD = ".old"  # of a folder that another has taken the place of


def find_damage(path: Path) -> str | None:
    """Return a step's first difference from its manifest, in words; None if whole."""
    try:
        expected = json.loads((path / MANIFEST).read_text())
        found = _digests(path)
    except FileNotFoundError:
        return f"it has no {MANIFEST}"
    except (OSError, ValueError) as error:
        return f"{MANIFEST}: {error}"
    if not isinstance(expected, dict):
        return f"{MANIFEST} is no JSON object"
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            return f"{name} is missing"
        if found[name] != expected.get(name):
            return f"{name} has changed"
    return None


def _digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file but the manifest, by its path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != MANIFEST:
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def write_manifest(folder: Path) -> None:
    """Write the manifest of a folder whose other files are whole."""
    text = json.dumps(_digests(folder), indent=1) + "\n"
    (folder / MANIFEST).write_text(text)


def replace(path: Path, final: Path) -> None:
    """Rename a folder to a name that another may have."""
    old = final.with_name(final.name + OLD)
    if final.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.rename(final, old)
    os.rename(path, final)
    shutil.rmtree(old, ignore_errors=True)
