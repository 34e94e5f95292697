"""The rules of the house, read off the source."""

import ast
import collections
import functools
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
    "transformers": lambda path: (
        path == "text/tokenizer.py" or path.startswith("model/hf/")
    ),
    "huggingface_hub": lambda path: (
        path in ("model/hf/folder.py", "model/hf/push.py", "tasks/files.py")
    ),
    "pyarrow": lambda path: path == "tasks/parquet.py",
    "gguf": lambda path: path == "model/hf/gguf_file.py",
    "tensorflow_datasets": lambda path: path.startswith("tasks/mbpp/"),
    "tensorboard": lambda path: path == "training/loggers.py",
    "wandb": lambda path: path == "training/loggers.py",
    "matplotlib": lambda path: path == "report_page/curves.py",
    "absl": lambda path: (
        path.removesuffix(".py") in ENTRY_POINTS | {"cli", "config_flag"}
    ),
    "jax": lambda path: not path.startswith(HOST_ROOMS),
    "pytest": lambda path: path == "sandbox/project_child.py",
    "gymnasium": lambda path: path == "integrations/gym_env.py",
    "verifiers": lambda path: path == "integrations/verifiers_env.py",
    "openai": lambda path: path == "integrations/verifiers_env.py",
    "trl": lambda path: path == "integrations/trl_env.py",
    "datasets": lambda path: path == "integrations/trl_env.py",
}
# Public names that several modules have in one meaning: each entry point has a main, a
# command and its flags, each reader of a published set a read, each stage an update and
# a loop over its steps (train).
SHARED_NAMES = {"main", "command", "define", "read", "update", "train"}
MAX_FILE, MAX_FUNCTION, MAX_PARAMETERS = 350, 60, 8
# Tests of more than one module, or of files outside of the package.
WIDER_TESTS = {
    "test_adapters.py",  # files, no module
    "env/test_forms.py",
    "integrations/test_docs_page.py",
    "integrations/test_without_jax.py",
    "model/hf/test_import.py",
    "model/test_parity.py",
    "model/test_real_weights.py",
    "report_page/test_browser.py",
    "sandbox/test_attacks.py",
    "sandbox/test_platforms.py",
    "sandbox/test_same_verdicts.py",
    "sandbox/test_sound_programs.py",
    "tasks/test_mbpp.py",
    "test_architecture.py",
    "test_colab.py",
    "test_docs.py",
    "test_faulty.py",
    "test_benchmarks.py",
    "test_launch.py",
    "test_peers.py",
    "test_wheel.py",
    "training/test_calculator.py",
    "training/test_frozen_metrics.py",
    "training/test_kill.py",
    "training/test_mesh.py",
}


def name_of(path):
    return path.relative_to(ROOT / "repair").as_posix()


def module_of(path):
    return "repair." + name_of(path).removesuffix(".py").replace("/", ".")


@functools.cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path):
    """Yield the dotted names of all imports of a file, wherever in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(path):
    return [name for name in imports(path) if name.startswith("repair.")]


def level(dotted):
    """Return the place of a module's room; entry points are above all."""
    room = dotted.split(".")[1]
    return LEVELS.index(room) if room in LEVELS else len(LEVELS)


def functions(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def loaded_by(modules):
    """Return the heavy packages that are there after some imports, and no others."""
    heavy = "{'jax', 'numpy', 'flax', 'transformers', 'orbax'}"
    code = f"import sys, {', '.join(modules)}; print(*({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_imports_point_up_the_list_of_rooms():
    assert not [
        f"{name_of(path)} imports {name}"
        for path in FILES
        for name in own(path)
        if level(name) > level(module_of(path))
    ]


def test_fenced_packages_stay_in_their_rooms():
    assert not [
        f"{name_of(path)} imports {name}"
        for path in FILES
        for name in imports(path)
        if (allowed := FENCED.get(name.split(".")[0])) and not allowed(name_of(path))
    ]


@pytest.mark.parametrize("room", LEVELS[1:])
def test_within_a_room_imports_have_an_order(room):
    modules = {
        module_of(path): path
        for path in FILES
        if name_of(path).startswith(f"{room}/") and path.name != "__init__.py"
    }
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


@pytest.mark.parametrize("room", [*HOST_ROOMS[:4], "integrations/problems.py"])
def test_host_rooms_load_no_jax(room):
    """Each of their modules, but a script of its own and one that needs an extra."""
    apart = {
        "sandbox/zygote.py",
        "sandbox/project_child.py",
        "tasks/mbpp/mbpp_dataset_builder.py",
    }
    modules = [
        module_of(path).removesuffix(".__init__")
        for path in FILES
        if name_of(path).startswith(room) and name_of(path) not in apart
    ]
    assert modules and not loaded_by(modules)
    assert "numpy" in loaded_by([*modules, "numpy"])


def test_integrations_stand_on_the_environment_and_the_prompt():
    allowed = re.compile(
        r"repair\.(errors|sandbox|tasks|env|demos|integrations|text\.prompts)\b"
    )
    assert not [
        f"{name_of(path)} imports {name}"
        for path in FILES
        if name_of(path).startswith("integrations/")
        for name in own(path)
        if not allowed.match(name)
    ]


def test_public_names_have_one_meaning():
    places = collections.defaultdict(list)
    for path in FILES:
        for node in tree(path).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                places[node.name].append(name_of(path))
    assert not {
        name: found
        for name, found in places.items()
        if len(found) > 1 and not name.startswith("_") and name not in SHARED_NAMES
    }


def test_modules_have_names_of_their_own():
    stems = collections.Counter(path.stem for path in FILES if path.stem != "__init__")
    assert not [stem for stem, count in stems.items() if count > 1]


def test_files_and_functions_are_short():
    found = []
    for path in FILES:
        lines = path.read_text(encoding="utf-8").count("\n")
        if lines > MAX_FILE:
            found.append(f"{name_of(path)}: {lines} lines")
        for node in functions(path):
            place = f"{name_of(path)}:{node.name}"
            docstring = ast.get_docstring(node, clean=False)
            lines = node.end_lineno - node.lineno + 1
            lines -= docstring.count("\n") + 1 if docstring else 0
            if lines > MAX_FUNCTION:
                found.append(f"{place}: {lines} lines")
            arguments = node.args
            names = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            count = len([name for name in names if name.arg not in ("self", "cls")])
            if count > MAX_PARAMETERS:
                found.append(f"{place}: {count} parameters")
    assert not found


def test_docstrings_begin_with_a_noun_or_a_verb():
    relative = re.compile(r"(What|Whether|Which|Where|How|Who|As above)\b")
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module
    docstrings = [
        (name_of(path), ast.get_docstring(node) or "")
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, kinds)
    ]
    assert not [
        f"{place}: {text.splitlines()[0]}"
        for place, text in docstrings
        if relative.match(text)
    ]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_are_finished_and_importing_does_nothing(path):
    """At module level stand imports, definitions and constants; no bare calls."""
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", path.read_text(encoding="utf-8"))
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ExceptHandler):
            silent = all(isinstance(x, ast.Pass) for x in node.body)
            assert not silent, f"line {node.lineno} swallows an exception"
        assert not isinstance(node, ast.Global), f"line {node.lineno}: global"
    for node in tree(path).body:
        if isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant), f"line {node.lineno} acts"
        assert not isinstance(node, ast.For | ast.While | ast.With), node.lineno


def test_tests_mirror_the_package():
    """A test file has the name of its module, or stands on the list."""
    folder = ROOT / "tests"
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("test_*.py")}
    modules = {name_of(path) for path in FILES}
    assert {name for name in found if name.replace("test_", "") not in modules} == (
        WIDER_TESTS
    )


def test_the_core_is_used_and_bounded():
    """Each package that everyone installs is imported, and none may drift."""
    core = re.search(r"CORE = \[(.*?)\]", (ROOT / "setup.py").read_text(), re.DOTALL)
    requirements = re.findall(r'"(.+?)"', core[1])
    modules = {"orbax-checkpoint": "orbax", "absl-py": "absl"}
    used = {name.split(".")[0] for path in FILES for name in imports(path)}
    assert len(requirements) > 5
    for requirement in requirements:
        bounded = re.fullmatch(r"([\w-]+)>=[^,]+,<.+", requirement)
        assert bounded, f"{requirement} has no upper bound"
        assert modules.get(bounded[1], bounded[1]) in used, f"{requirement} is unused"
