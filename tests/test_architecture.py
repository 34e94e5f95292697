"""The rules of the house, read off the source."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
FILES = sorted((ROOT / "repair").rglob("*.py"))
LEVELS = (
    "errors",
    *("sandbox", "tasks", "env", "demos", "text", "model", "rollout", "training"),
    *("integrations", "report_page"),
)
# Rooms that run without jax.
HOST_ROOMS = ("sandbox/", "tasks/", "env/", "demos/", "integrations/")
ENTRY_POINTS = {"train", "evaluate", "export", "make_data", "fix", "report"}
# Packages that may be imported in few places, by path below repair/.
FENCED = {
    "flax": lambda path: path.startswith("model/"),
    "orbax": lambda path: path == "training/checkpoint.py",
    "transformers": lambda path: path in ("text/tokenizer.py", "model/hf/folder.py"),
    "huggingface_hub": lambda path: path == "model/hf/folder.py",
    "tensorflow_datasets": lambda path: path.startswith("tasks/mbpp/"),
    "tensorboard": lambda path: path == "training/loggers.py",
    "wandb": lambda path: path == "training/loggers.py",
    "matplotlib": lambda path: path == "report_page/curves.py",
    "absl": lambda path: (
        path.removesuffix(".py") in ENTRY_POINTS | {"cli", "config_flag"}
    ),
    "jax": lambda path: not path.startswith(HOST_ROOMS),
    "gymnasium": lambda path: path == "integrations/gym_env.py",
    "verifiers": lambda path: path == "integrations/verifiers_env.py",
    "openai": lambda path: path == "integrations/verifiers_env.py",
    "trl": lambda path: path == "integrations/trl_env.py",
    "datasets": lambda path: path == "integrations/trl_env.py",
}


def name_of(path):
    return path.relative_to(ROOT / "repair").as_posix()


def imports(path):
    """Dotted names of all that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def level(dotted):
    """Of "repair.training.sft" the place of learn; entry points are above all."""
    room = dotted.split(".")[1]
    return LEVELS.index(room) if room in LEVELS else len(LEVELS)


def own(path):
    return [name for name in imports(path) if name.startswith("repair.")]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_down(path):
    here = level("repair." + name_of(path).removesuffix(".py").replace("/", "."))
    for name in own(path):
        assert level(name) <= here, f"{name_of(path)} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_fenced_packages_stay_in_their_rooms(path):
    for name in imports(path):
        allowed = FENCED.get(name.split(".")[0])
        assert allowed is None or allowed(name_of(path)), f"imports {name}"


@pytest.mark.parametrize("room", LEVELS[1:])
def test_no_two_files_of_a_room_need_one_another(room):
    """Within a folder imports point to earlier files: some order has no way back."""
    modules = {}
    for path in (ROOT / "repair" / room).rglob("*.py"):
        if path.name != "__init__.py":
            modules[f"repair.{name_of(path)[:-3].replace('/', '.')}"] = path
    needs = {
        module: {
            other
            for name in own(path)
            for other in modules
            if other != module and (name == other or name.startswith(other + "."))
        }
        for module, path in modules.items()
    }
    while needs:
        free = {module for module, others in needs.items() if not others & needs.keys()}
        assert free, f"these need one another: {sorted(needs)}"
        needs = {m: others for m, others in needs.items() if m not in free}


@pytest.mark.parametrize(
    "module",
    ["repair.sandbox", "repair.tasks", "repair.env", "repair.demos"]
    + ["repair.integrations.problems"],
)
def test_the_tool_is_usable_without_jax(module):
    heavy = "{'jax', 'numpy', 'flax', 'transformers', 'orbax'}"
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_integrations_stand_on_the_tool_and_the_prompt_alone(path):
    if name_of(path).startswith("integrations/"):
        for name in own(path):
            assert re.match(
                r"repair\.(errors|sandbox|tasks|env|demos|integrations|text\.prompts)\b",
                name,
            ), f"{name_of(path)} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_are_short_and_finished(path):
    text = path.read_text()
    assert text.count("\n") < 420
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", text)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            length = node.end_lineno - node.lineno + 1
            docstring = ast.get_docstring(node) or ""
            assert length - docstring.count("\n") <= 90, f"{node.name}: {length} lines"
        if isinstance(node, ast.ExceptHandler):
            silent = all(isinstance(x, ast.Pass) for x in node.body)
            assert not silent, f"line {node.lineno} swallows an exception"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_importing_does_nothing(path):
    """At module level stand imports, definitions and constants; no bare calls."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant), f"line {node.lineno} acts"
        assert not isinstance(node, ast.For | ast.While | ast.With), node.lineno
        for inner in ast.walk(node):
            assert not isinstance(inner, ast.Global), f"line {inner.lineno}: global"
