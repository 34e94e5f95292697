"""Set the repository's address, where a fork has one of its own.

    python launch/address.py https://github.com/OWNER/NAME

The notebook fetches the package from there (REPOSITORY in launch/colab.py and .ipynb),
and README.md gets a badge that opens its notebook in Colab. `""` takes both away.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
NOTEBOOK = "launch/colab.ipynb"
PLACE = "<!-- The next line is the badge of launch/address.py. -->\n"
_IMAGE = "https://colab.research.google.com/assets/colab-badge.svg"


def badge(address: str) -> str:
    """Return README's badge, "" without an address."""
    if not address:
        return ""
    repository = address.removeprefix("https://github.com/").removesuffix(".git")
    opener = f"https://colab.research.google.com/github/{repository}/blob/main"
    return f"[![Open in Colab]({_IMAGE})]({opener}/{NOTEBOOK})"


def write(address: str, root: pathlib.Path = ROOT) -> None:
    """Write the address into the files of a checkout."""
    changes = {
        "launch/colab.py": (r'(?m)^(REPOSITORY = ")[^"]*', rf"\g<1>{address}"),
        NOTEBOOK: (r'(REPOSITORY = \\")[^"\\]*', rf"\g<1>{address}"),
        "README.md": (rf"{re.escape(PLACE)}.*\n", f"{PLACE}{badge(address)}\n"),
    }
    for name, (pattern, text) in changes.items():
        before = (root / name).read_text(encoding="utf-8")
        after, count = re.subn(pattern, text, before)
        assert count == 1, f"{name} has {count} places for the address"
        (root / name).write_text(after, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2 or not re.fullmatch(
        r"(https://github\.com/[\w.-]+/[\w.-]+)?", sys.argv[1]
    ):
        sys.exit("error: give the address as https://github.com/OWNER/NAME")
    write(sys.argv[1])
