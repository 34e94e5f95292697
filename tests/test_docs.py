"""README and docs: sizes, words, and all names of files, modules, flags and fields."""

import ast
import functools
import importlib
import importlib.util
import pathlib
import re

import pytest

from repair.training.config import defaults
from repair.training.fields import flatten

ROOT = pathlib.Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
FOLDERS = "repair|tests|benchmarks|experiments|configs|examples|launch|docs"
# Relative clauses in place of a main clause begin with these; a page may hold a few.
RARE = re.compile(r"\b(what|whether|beside)\b", re.IGNORECASE)
OTHER_TOOLS = {"--infra"}  # SkyPilot's


def text(page: pathlib.Path) -> str:
    """Return the page, with continued lines joined."""
    return page.read_text(encoding="utf-8").replace("\\\n", " ")


def inline(page: pathlib.Path) -> list[str]:
    """Return the inline code of a page; fenced blocks are left out."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text(page), flags=re.S))


def exists(module: str) -> pathlib.Path | None:
    """Return the file of a module, or the __init__.py of a package."""
    path = ROOT.joinpath(*module.split("."))
    found = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in found if file.exists()), None)


@functools.cache
def flags(path: pathlib.Path) -> set[str]:
    """Return the flags that a file defines, by absl or argparse, or takes from cli."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        name = getattr(getattr(node, "func", None), "attr", "")
        takes = ast.unparse(node).startswith("cli.define_") if name else False
        if takes and path.name != "cli.py":
            found |= flags(ROOT / "repair" / "cli.py")
        if name.startswith("DEFINE_") or name == "add_argument":
            if isinstance(node.args[0], ast.Constant):
                found.add("--" + node.args[0].value.removeprefix("--"))
    return found


@functools.cache
def fields() -> frozenset[str]:
    """Dotted names of all config fields and sections."""
    names = flatten(defaults().to_dict())
    parts = [name.split(".") for name in names]
    return frozenset(".".join(p[:i]) for p in parts for i in range(1, len(p) + 1))


def commands(page: pathlib.Path) -> list[tuple[str, str]]:
    """Return (module, arguments) of every `python -m` of a page."""
    return re.findall(r"\bpython -m ([\w.]+)([^`\n&|]*)", text(page))


def test_readme_is_short():
    assert len(README.read_bytes()) < 9000


def test_readme_links_every_page():
    missing = [p.name for p in PAGES[1:] if f"(docs/{p.name})" not in text(README)]
    assert not missing


def test_indirect_words_are_rare():
    pages = " ".join(text(page) for page in PAGES)
    share = len(RARE.findall(pages)) / len(pages.split())
    assert share <= 3 / 1000


def test_config_page_is_current():
    path = ROOT / "docs" / "make_config.py"
    spec = importlib.util.spec_from_file_location("make_config", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    assert written == module.page(), "run python docs/make_config.py"


@each_page
def test_files_exist(page):
    """Files of the repository; runs/ and data/ are the reader's own."""
    named = re.findall(rf"\b(?:{FOLDERS})/[\w./]*\.\w+", text(page))
    assert not [path for path in named if not (ROOT / path).exists()]


@each_page
def test_links_lead_somewhere(page):
    titles = re.findall(r"^#+ (.*)", text(page), re.M)
    anchors = {re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles}
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text(page)):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        else:
            assert (page.parent / target).exists(), target


@each_page
def test_modules_exist(page):
    """Dotted names in `repair`: a module, or a name at the top level of one."""
    for name in re.findall(r"\brepair(?:\.[A-Za-z_]\w*)+", text(page)):
        parts = name.split(".")
        ends = (n for n in range(len(parts), 1, -1) if exists(".".join(parts[:n])))
        end = next(ends, 1)
        path = exists(".".join(parts[:end]))
        if rest := parts[end:]:
            source = path.read_text(encoding="utf-8")
            defined = rf"^(?:class|def) {rest[0]}\b|^{rest[0]} =|\b{rest[0]},?$"
            imported = rf"^from .* import .*\b{rest[0]}\b"
            assert re.search(f"{defined}|{imported}", source, re.M), name


@each_page
def test_commands_run_modules_with_their_flags(page):
    for module, arguments in commands(page):
        path = exists(module)
        assert path is not None, module
        known = flags(path) | {"--help"}
        if "config_flag" in path.read_text(encoding="utf-8"):
            known = known | {"--config"}
        for flag in re.findall(r"(?<![\w-])(--[\w.]+)", arguments):
            name = flag.removeprefix("--config.")
            if name != flag:
                assert name in fields() and "--config" in known, flag
            else:
                assert flag in known, f"{module} {flag}"


@each_page
def test_configs_exist_and_take_the_argument(page):
    for name, argument in re.findall(r"--config=(\w+/\w+)\.py:?(\w*)", text(page)):
        config = importlib.import_module(name.replace("/", "."))
        assert config.get_config(*filter(None, [argument])).sft


@each_page
def test_flags_and_fields_in_prose_exist(page):
    entries = [ROOT / "repair" / "cli.py", *(ROOT / "repair").glob("*.py")]
    entries += [*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "docs").glob("*.py")]
    known = set().union(*map(flags, entries)) | {"--help", "--version"} | OTHER_TOOLS
    sections = {name.split(".")[0] for name in fields() if "." in name} - {"sandbox"}
    for code in inline(page):
        for flag in re.findall(r"^(--\w[\w.]*)", code):
            if flag.startswith("--config."):
                field = flag.removeprefix("--config.")
                assert field in fields() or field.isupper(), flag
            else:
                assert flag in known, flag
        field = re.match(r"([a-z]+(?:\.\w+)+)(?:$|=| )", code)
        if field and field[1].split(".")[0] in sections:
            is_file = field[1].endswith((".jsonl", ".json", ".md", ".py"))
            assert is_file or field[1] in fields(), code


@each_page
def test_console_scripts_are_declared(page):
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    for name in re.findall(r"\brepair-([a-z]+(?:-[a-z]+)*)\b", " ".join(inline(page))):
        # Else a plugin of verifiers, or the folder of a distribution.
        others = (ROOT / f"repair_{name}.py", ROOT / f"repair-{name}")
        if not any(other.exists() for other in others):
            assert exists(f"repair.{name.replace('-', '_')}"), name
            assert "console_scripts" in setup and f'"{name}"' in setup, name
