"""The wheels in another folder: commands, configs and a short run; the environment."""

import email
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

pytest.importorskip("setuptools", minversion="77", reason="needs the extra test")
ROOT = pathlib.Path(__file__).parent.parent
PLUGINS = ("repair_editor.py", "repair_gym.py")
SOURCES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", *PLUGINS)
COMMANDS = ("evaluate", "export", "fix", "make-data", "report", "train")
CLEAN = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
SHORT = {
    "stages": "sft,eval",
    "tasks.train_count": 8,
    "tasks.eval_count": 2,
    "demos.per_task": 2,
    "demos.max_corruptions": 1,
    "text.max_turns": 2,
    "text.max_length": 256,
    "model.vocab_size": 300,
    "model.width": 16,
    "model.mlp_width": 32,
    "model.layers": 1,
    "model.heads": 2,
    "model.kv_heads": 2,
    "model.head_size": 8,
    "sampler.lengths": "256",
    "sampler.slots": 4,
    "sampler.cohorts": 1,
    "sft.steps": 2,
    "sft.rows": 2,
    "sft.row_length": 512,
    "eval.samples": 0,
}


def run(*command, **more):
    done = subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        timeout=300,
        **more,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def offline(*command):
    """Run pip without an index."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    return run(*pip, *command, "--no-deps", "--no-index", env=CLEAN)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Return a copy of the files that a wheel is made of."""
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        shutil.copy(ROOT / name, folder)
    for name in ("repair", "configs", "repair-env"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    return folder


def install(source, folder):
    """Return the wheel of a source, and an environment that has it and nothing more."""
    offline("wheel", "--no-build-isolation", "--wheel-dir", folder, source)
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    python = folder / "venv" / "bin" / "python"
    (built,) = folder.glob("*.whl")
    offline("--python", python, "install", built)
    return built, python


def add_others(python):
    """Let an environment import what this process can."""
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    here = pathlib.Path(run(python, "-c", ask).strip())
    # Paths of a .pth come last, and the .pth files below them are not read: of repair
    # only the wheel is there.
    paths = [p for p in sys.path if p.endswith("-packages")]
    (here / "others.pth").write_text("\n".join(paths) + "\n")


@pytest.fixture(scope="module")
def installed(source, tmp_path_factory):
    """Return the bin folder of an environment with the wheel installed."""
    _, python = install(source, tmp_path_factory.mktemp("wheel"))
    add_others(python)
    return python.parent


@pytest.fixture(scope="module")
def without_jax(source, tmp_path_factory):
    """Return the wheel repair-env, and the Python of a bare environment that has it."""
    return install(source / "repair-env", tmp_path_factory.mktemp("env_wheel"))


@pytest.mark.slow
def test_a_wheel_brings_commands_and_configs(installed, tmp_path):
    scripts = {path.name for path in installed.glob("repair-*")}
    assert scripts == {f"repair-{name}" for name in COMMANDS}
    alone = {"cwd": tmp_path, "env": CLEAN | {"JAX_PLATFORMS": "cpu"}}
    shown = run(installed / "repair-report", "--help", **alone)
    assert "Writes one HTML page" in shown and "--[no]terminal" in shown
    where = run(installed / "python", "-c", "import repair; print(repair)", **alone)
    assert str(installed.parent) in where
    for config in ("tiny", "configs/tiny.py"):
        overrides = [f"--config.{name}={value}" for name, value in SHORT.items()]
        command = (installed / "repair-train", f"--config={config}", "--workdir=run")
        said = run(*command, *overrides, **alone)  # the second time resumes
        assert said.endswith("everything is in run\n")
    assert (tmp_path / "run" / "checkpoints" / "sft" / "2").is_dir()
    run(installed / "repair-report", "run", **alone)
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_the_environment_alone_has_its_own_files_only(without_jax):
    """No more than the folders without jax, and no file twice."""
    with zipfile.ZipFile(without_jax[0]) as wheel:
        names = [name for name in wheel.namelist() if ".dist-info/" not in name]
        (metadata,) = (n for n in wheel.namelist() if n.endswith("/METADATA"))
        described = email.message_from_bytes(wheel.read(metadata))
    folders = ("sandbox", "tasks", "env", "demos", "integrations")
    apart = ("__init__.py", "errors.py", "text/__init__.py", "text/prompts.py")
    assert sorted(names) == sorted(
        [
            *PLUGINS,
            *(f"repair/{name}" for name in apart),
            *(
                path.relative_to(ROOT).as_posix()
                for folder in folders
                for path in (ROOT / "repair" / folder).rglob("*.py")
            ),
        ]
    )
    assert without_jax[0].stat().st_size < 500_000
    needed = described.get_all("Requires-Dist")
    assert all("extra ==" in requirement for requirement in needed), needed
    assert set(described.get_all("Provides-Extra")) == {"gymnasium", "verifiers", "trl"}


PLAY = """
import importlib.util
from repair.integrations.problems import open_problems
from repair.env.editor import split_program
from repair.demos.edit_script import top_down
with open_problems(count=2, max_turns=30, workers=1) as problems:
    bug = problems.bugs[0]
    environment = problems.make_environment()
    environment.reset(bug)
    for edit in top_down(*map(split_program, (bug.faulty_code, bug.task.code))):
        print(environment.step(edit.format()).passed)
    print(environment.step("### EXIT").status)
print([name for name in ("jax", "numpy") if importlib.util.find_spec(name)])
"""
MAKE = """
import sys
import gymnasium
with gymnasium.make("repair_gym:repair/LineEditor-v0", count=2) as env:
    print(env.reset(seed=0)[0].startswith("You are an expert"))
    print(env.step("### EXIT")[4]["status"])
print({"jax", "numpy"} & set(sys.modules))
"""


@pytest.mark.slow
def test_the_environment_alone_plays(without_jax, tmp_path):
    said = run(without_jax[1], "-c", PLAY, cwd=tmp_path, env=CLEAN).splitlines()
    assert said[-3:] == ["True", "solved", "[]"]


@pytest.mark.slow
def test_gymnasium_finds_the_environment_by_its_name(without_jax, tmp_path):
    pytest.importorskip("gymnasium", reason="needs pip install -e '.[gymnasium]'")
    add_others(without_jax[1])
    said = run(without_jax[1], "-c", MAKE, cwd=tmp_path, env=CLEAN)
    assert said == "True\nexited_unsolved\n{'numpy'}\n"
