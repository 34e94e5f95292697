"""The installed wheel in another folder: commands, shipped configs, a short run."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("setuptools", minversion="77", reason="needs the extra test")
ROOT = pathlib.Path(__file__).parent.parent
SOURCES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "repair_editor.py")
COMMANDS = ("evaluate", "export", "fix", "make-data", "report", "train")
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


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return the bin folder of an environment with the wheel installed."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        (folder / "source").mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / "source")
    for name in ("repair", "configs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=ignored)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    offline = ("--no-deps", "--no-index")
    wheel = ("wheel", *offline, "--no-build-isolation", "--wheel-dir", folder)
    run(*pip, *wheel, folder / "source", cwd=folder)
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    python = folder / "venv" / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    here = pathlib.Path(run(python, "-c", ask).strip())
    # Paths of a .pth come last, and the .pth files below them are not read: of repair
    # only the wheel is there.
    paths = [p for p in sys.path if p.endswith("-packages")]
    (here / "others.pth").write_text("\n".join(paths) + "\n")
    (built,) = folder.glob("repair-*.whl")
    run(*pip, "--python", python, "install", *offline, built)
    return python.parent


@pytest.mark.slow
def test_a_wheel_brings_commands_and_configs(installed, tmp_path):
    scripts = {path.name for path in installed.glob("repair-*")}
    assert scripts == {f"repair-{name}" for name in COMMANDS}
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    alone = {"cwd": tmp_path, "env": clean | {"JAX_PLATFORMS": "cpu"}}
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
