"""The notebook is its script, has one address, and runs from first cell to last."""

import pathlib
import re
import shutil
import subprocess
import sys
import types

import pytest

from launch import address

ROOT = pathlib.Path(__file__).parent.parent
SCRIPT, NOTEBOOK = ROOT / "launch" / "colab.py", ROOT / "launch" / "colab.ipynb"
# Small enough for CI, and all stages in it.
TINY = {
    **{"tasks.train_count": 60, "tasks.eval_count": 2, "eval.samples": 1},
    **{"sft.steps": 2, "rlvr.steps": 1, "rlvr.problems": 2, "rlvr.samples": 2},
    **{"model.layers": 1, "text.max_turns": 2, "sampler.slots": 4},
}


def code(path=SCRIPT):
    """Return the code cells of the script, the first of them its settings."""
    parts = re.split(r"^# %%(.*)\n", path.read_text(), flags=re.M)[1:]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [text for kind, text in pairs if "[markdown]" not in kind]


def run_first_cells(folder, repository):
    """Run the settings and the cell that gets the package: (folder then, errors)."""
    settings, install = code()[:2]
    settings += f"\nREPOSITORY, INSTALL = {str(repository)!r}, False\n"
    program = f"{settings}\n{install}\nprint(os.getcwd())"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return pathlib.Path(done.stdout.strip()), done.stderr


def test_a_checkout_is_found_or_fetched_or_asked_for(tmp_path):
    assert run_first_cells(ROOT / "launch", "") == (ROOT, "")
    source = tmp_path / "source"
    (source / "repair").mkdir(parents=True)
    (source / "repair/train.py").write_text("")
    git = ["git", "-C", source, "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for step in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *step], check=True)
    fetched, errors = run_first_cells(tmp_path, source)
    assert fetched == tmp_path / "checkout" and not errors
    (tmp_path / "empty").mkdir()
    _, errors = run_first_cells(tmp_path / "empty", "")
    assert errors.count("\n") == 1 and "set REPOSITORY in the cell above" in errors


def test_commands_draw_no_progress_frames(monkeypatch, capsys):
    """Even where Jupyter asks for colours, as its kernels do."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.chdir(ROOT)
    names = {"REPOSITORY": "", "INSTALL": False}
    exec(code()[1], names)
    asks = "from rich.console import Console; print(Console(stderr=True).is_terminal)"
    names["run"](sys.executable, "-c", asks)
    assert capsys.readouterr().out == "False\n"
    names["run"](sys.executable, "-c", "exit(1)", accept=(0, 1))
    with pytest.raises(SystemExit, match="ended with 3"):
        names["run"](sys.executable, "-c", "exit(3)")


def test_badge_and_notebook_have_one_address():
    (found,) = re.findall('^REPOSITORY = "([^"]*)"', SCRIPT.read_text(), re.M)
    badge = f"{address.PLACE}{address.badge(found)}\n"
    assert badge in (ROOT / "README.md").read_text()
    assert f'REPOSITORY = \\"{found}\\"' in NOTEBOOK.read_text()


def test_the_address_of_a_fork_is_set_everywhere_and_taken_away(tmp_path):
    (tmp_path / "launch").mkdir()
    names = ("README.md", "launch/colab.py", "launch/colab.ipynb")
    for name in names:
        shutil.copy(ROOT / name, tmp_path / name)
    address.write("", tmp_path)
    before = [(tmp_path / name).read_text() for name in names]
    for _ in range(2):
        address.write("https://github.com/me/fork", tmp_path)
    after = [(tmp_path / name).read_text() for name in names]
    opener = "https://colab.research.google.com/github/me/fork/blob/main/launch"
    assert f"({opener}/colab.ipynb)" in after[0]
    assert 'REPOSITORY = "https://github.com/me/fork"' in after[1]
    assert 'REPOSITORY = \\"https://github.com/me/fork\\"' in after[2]
    address.write("", tmp_path)
    assert [(tmp_path / name).read_text() for name in names] == before


@pytest.mark.parametrize("drive", [False, True])
def test_colab_hands_the_run_over(tmp_path, monkeypatch, capsys, drive):
    """Google's modules are stand-ins."""
    calls, colab = [], types.ModuleType("google.colab")
    colab.files = types.SimpleNamespace(download=calls.append)
    colab.drive = types.SimpleNamespace(mount=calls.append)
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    copied = []
    monkeypatch.setattr(shutil, "copy", lambda *places: copied.append(places))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/results.json").write_text("{}")
    names = {"sys": sys, "shutil": shutil, "pathlib": pathlib}
    exec(code()[-1], names | {"WORKDIR": "run", "DRIVE": drive})
    archive = tmp_path / "repair-run.zip"
    shutil.unpack_archive(archive, tmp_path / "back")
    assert (tmp_path / "back/results.json").exists()
    if drive:
        assert calls == ["/content/drive"]
        assert copied == [(archive, "/content/drive/MyDrive")]
        assert "in your Google Drive as repair-run.zip" in capsys.readouterr().out
    else:
        assert calls == [str(archive)] and not copied


def cells(path):
    jupytext = pytest.importorskip("jupytext", reason="needs the extra notebook")
    return [(c.cell_type, c.source.strip()) for c in jupytext.read(path).cells]


def test_notebook_and_script_are_one():
    assert cells(NOTEBOOK) == cells(SCRIPT), (
        "launch/colab.py and .ipynb differ; run: jupytext --sync launch/colab.py"
    )
    assert '"output_type"' not in NOTEBOOK.read_text()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the notebook's own machinery
def test_every_cell_runs(tmp_path):
    jupytext = pytest.importorskip("jupytext", reason="needs the extra notebook")
    nbclient = pytest.importorskip("nbclient", reason="needs the extra notebook")
    notebook = jupytext.read(SCRIPT)
    (settings,) = [
        cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])
    ]
    workdir = tmp_path / "run"
    settings.source += (
        f"\nWORKDIR, INSTALL, OVERRIDES = {str(workdir)!r}, False, {TINY}"
    )
    client = nbclient.NotebookClient(
        notebook, timeout=500, resources={"metadata": {"path": str(ROOT / "launch")}}
    )
    client.execute()
    told = "".join(
        output.get("text", "") + str(output.get("data", {}).get("text/html", ""))
        for cell in notebook.cells
        for output in cell.get("outputs", ())
    )
    assert "pass@1" in told and "<iframe srcdoc=" in told
    assert "Traceback" not in told
    printed = told[: told.index("<iframe")]
    assert printed.count("\n") < 120 and "\x1b" not in printed, "frames of progress"
    assert f"the run is in {workdir}" in told
    assert (workdir / "snippet.py").read_text() in told
    assert notebook.metadata.kernelspec.name == "python3"
