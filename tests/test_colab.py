"""The notebook is its script, and runs from its first cell to its last."""

import pathlib

import pytest

jupytext = pytest.importorskip("jupytext", reason="needs the extra notebook")
nbclient = pytest.importorskip("nbclient", reason="needs the extra notebook")

ROOT = pathlib.Path(__file__).parent.parent
SCRIPT, NOTEBOOK = ROOT / "launch" / "colab.py", ROOT / "launch" / "colab.ipynb"
# Small enough for CI, and all stages in it.
TINY = {
    **{"tasks.train_count": 60, "tasks.eval_count": 2, "eval.samples": 1},
    **{"sft.steps": 2, "rlvr.steps": 1, "rlvr.problems": 2, "rlvr.samples": 2},
    **{"model.layers": 1, "text.max_turns": 2, "sampler.slots": 4},
}


def cells(path):
    return [(c.cell_type, c.source.strip()) for c in jupytext.read(path).cells]


def test_notebook_and_script_are_one():
    assert cells(NOTEBOOK) == cells(SCRIPT), (
        "launch/colab.py and .ipynb differ; run: jupytext --sync launch/colab.py"
    )
    assert not any(cell.get("outputs") for cell in jupytext.read(NOTEBOOK).cells)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the notebook's own machinery
def test_every_cell_runs(tmp_path):
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
    assert (workdir / "snippet.py").read_text() in told
    assert notebook.metadata.kernelspec.name == "python3"
