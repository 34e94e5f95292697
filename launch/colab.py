# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # repair: a small model learns to mend Python with a line editor
#
# This notebook installs the package, trains a model of 0.9 million parameters from
# scratch for a few minutes, shows its curves and its episodes turn by turn, measures it
# on programs that it has never seen, and lets it repair a program that you type.
#
# It runs as it is on Colab's free CPU, a GPU or a TPU (Runtime > Change runtime type),
# and in Jupyter on a laptop. For the whole quick start, 20 minutes on two cores, set
# `SHARE` to 1 below.

# %% [markdown]
# ## Install
#
# The package comes from `REPOSITORY`; where the notebook is opened within a checkout,
# nothing is fetched. `python launch/address.py ADDRESS` sets the address of a fork here
# and in its README.

# %% tags=["parameters"]
REPOSITORY = ""  # address for `git clone`; "" within a checkout
SHARE = 0.25  # of the quick start's training; 1 for all of it
WORKDIR = "runs/colab"
OVERRIDES = {}  # fields of the config, such as {"sft.steps": 100}
INSTALL = True  # False where the package is installed already
DRIVE = False  # True: Colab copies the run to your Google Drive, not to your machine

# %%
import os
import pathlib
import shutil
import subprocess
import sys


def run(*command, accept=(0,)):
    """Run a command, show its output, and stop unless it exits as accepted.

    Jupyter asks for colours (FORCE_COLOR), with which progress is drawn twice a second,
    each time on lines of its own; without them it is a line a minute.
    """
    plain = {"NO_COLOR": "1", "FORCE_COLOR": "", "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=os.environ | plain, **pipes) as process:
        for line in process.stdout:
            print(line, end="")
    if process.returncode not in accept:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")


if REPOSITORY and not pathlib.Path("repair/train.py").exists():
    if not pathlib.Path("checkout").exists():
        run("git", "clone", "--quiet", REPOSITORY, "checkout")
    os.chdir("checkout")
while not pathlib.Path("repair/train.py").exists():  # opened in launch/
    if pathlib.Path.cwd() == pathlib.Path.cwd().parent:
        raise SystemExit(
            "no checkout of the package is here: set REPOSITORY in the cell above to"
            " the address of one, such as https://github.com/OWNER/NAME, and run again"
        )
    os.chdir("..")
if shutil.which("nvidia-smi"):
    extra = "[cuda]"
elif "TPU_ACCELERATOR_TYPE" in os.environ or "COLAB_TPU_ADDR" in os.environ:
    extra = "[tpu]"
else:
    extra = ""
if INSTALL:
    run(sys.executable, "-m", "pip", "install", "--quiet", "-e", f".{extra}")

# %% [markdown]
# ## Train
#
# Correct programs are corrupted and the exact inverse edits replayed: that is what SFT
# learns from. Then RLVR: the model plays, the tests reward each turn. Progress comes in
# one line a minute. A run that was interrupted goes on where it stood if this cell is
# run again. The first lines tell devices and precision: a T4 has no bfloat16, so models
# in bfloat16 are computed in float32 there.

# %%
settings = {
    "tasks.train_count": int(4000 * max(SHARE, 0.1)),
    "tasks.eval_count": int(128 * max(SHARE, 0.5)),
    "sft.steps": int(1200 * SHARE),
    "rlvr.sampled_tokens": int(100_000 * SHARE),
}
if extra:  # an accelerator likes large batches
    settings |= {"sft.rows": 8, "rlvr.rows": 8, "sampler.cohorts": 2}
settings |= OVERRIDES
run(
    *(sys.executable, "-m", "repair.train", "--config=configs/tiny.py"),
    f"--workdir={WORKDIR}",
    *(f"--config.{field}={value}" for field, value in settings.items()),
)

# %% [markdown]
# ## Results, curves, episodes
#
# pass@1 is greedy, pass@4 of four samples, both by hidden tests, of programs that were
# in no training task. Below the curves, choose a step, a faulty program and a sample
# and read what the model wrote, turn by turn.

# %%
import html

from IPython.display import HTML, display

run(sys.executable, "-m", "repair.report", WORKDIR, "--episodes=200")
page = html.escape(pathlib.Path(WORKDIR, "report.html").read_text())
frame = f'<iframe srcdoc="{page}" width="100%" height="900"></iframe>'
display(HTML(frame))

# %% [markdown]
# ## Repair a program of yours
#
# The model knows short functions over numbers, lists and strings, and this little
# training made it no expert: change one thing of a correct program, keep the tests
# plain. Each attempt shows its edits; the first that passes all tests is the repair.

# %%
BROKEN = """\
def keep_big(xs):
    out = []
    for x in xs:
        if x < 4:
            out.append(x)
    return out
"""
TESTS = """\
assert keep_big([1, 5, 9]) == [5, 9]
assert keep_big([2, 3]) == []
assert keep_big([7]) == [7]
"""
TASK = "Keep the items that are greater than 4."

snippet, tests = (pathlib.Path(WORKDIR, name) for name in ("snippet.py", "tests.py"))
snippet.write_text(BROKEN)
tests.write_text(TESTS)
run(
    *(sys.executable, "-m", "repair.fix", str(snippet), f"--tests={tests}"),
    *(f"--checkpoint={WORKDIR}/checkpoints/rlvr", f"--text={TASK}", "--samples=8"),
    accept=(0, 1),  # 1: no repair was found
)
print(snippet.read_text())

# %% [markdown]
# ## Keep the run
#
# Colab forgets its files when it disconnects. This cell downloads the run, or copies it
# to Google Drive. Elsewhere it is on your disk already. `repair.train` resumes it, and
# `repair.export` makes a folder for transformers of it.

# %%
if "google.colab" in sys.modules:
    archive = pathlib.Path(shutil.make_archive("repair-run", "zip", WORKDIR))
    if DRIVE:
        from google.colab import drive

        drive.mount("/content/drive")
        shutil.copy(archive, "/content/drive/MyDrive")
        print(f"the run is in your Google Drive as {archive.name}")
    else:
        from google.colab import files

        files.download(str(archive))
else:
    print(f"the run is in {pathlib.Path(WORKDIR).resolve()}")
