"""The entry points from outside: a user's mistake is one sentence and exit code 2."""

import importlib.metadata
import json
import os
import subprocess
import sys

import pytest

from configs import tiny
from repair.config_flag import expected_figures
from repair.training.config import read
from repair.training.workdir import open_workdir

TINY = "--config=configs/tiny.py"
SHIPPED = (
    "llama31_8b, llama32_1b, llama32_3b, qwen25_coder_0_5b, qwen25_coder_1_5b,"
    " qwen3_0_6b, smollm2_135m, smollm2_360m, tiny"
)
NO_CONFIG = (
    "--config is missing; give a file or the name of a shipped config, such as tiny"
)
CONFIGS = {
    "raises.py": "from repair.training.config import defaults\n\n1 / 0\n",
    "syntax.py": "def get_config(:\n    return None\n",
    "empty.py": "x = 1\n",
    "number.py": "def get_config():\n    return 3\n",
    "stubborn.py": "def get_config(arg=''):\n    raise ValueError(f'never {arg}')\n",
}
# Each command in a fork of one process, which has imported all that is slow to import.
RUNNER = """
import importlib, json, os, sys, traceback
modules = "train evaluate make_data fix export report".split()
modules = {name: importlib.import_module(f"repair.{name}") for name in modules}
import repair.report_page.page, repair.training.plan, repair.training.run  # slow too
for line in sys.stdin:
    name, *arguments = json.loads(line)
    read, write = os.pipe()
    if not (child := os.fork()):
        os.dup2(write, 1), os.dup2(write, 2), os.close(write)
        sys.argv = ["/bin/repair", *arguments]
        code = 1
        try:
            modules[name].command()
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush(), sys.stderr.flush(), os._exit(code)
    os.close(write)
    said = open(read).read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps([code, said]), flush=True)
"""
OF_CONFIG = {
    "": NO_CONFIG,
    "--config.sft.steps=3": NO_CONFIG,
    "--config=configs/tinyy.py": (
        "--config=configs/tinyy.py: no such file; did you mean configs/tiny.py?"
    ),
    "--config=tinyy": "--config=tinyy: no such file; did you mean tiny?",
    "--config=a/b.py": (
        f"--config=a/b.py: no such file; give a file or one of {SHIPPED}"
    ),
    f"{TINY}:foo": (
        f"{TINY}:foo: no argument foo; expected none, or one of mbpp, direct, cot"
    ),
    "--config=llama32_1b:foo": (
        "--config=llama32_1b:foo: no argument foo; expected one of coe, direct, cot"
    ),
    "--config=DIR/raises.py": (
        "--config=DIR/raises.py: line 3 of DIR/raises.py raises ZeroDivisionError:"
        " division by zero"
    ),
    "--config=DIR/syntax.py": (
        "--config=DIR/syntax.py: line 1 of DIR/syntax.py raises SyntaxError: invalid"
        " syntax"
    ),
    "--config=DIR/empty.py": (
        "--config=DIR/empty.py: DIR/empty.py has no function get_config; define it"
    ),
    "--config=DIR/number.py": (
        "--config=DIR/number.py: get_config returned int, expected a ConfigDict; start"
        " from repair.training.config.defaults()"
    ),
    "--config=DIR/stubborn.py:a": (
        "--config=DIR/stubborn.py:a: line 2 of DIR/stubborn.py raises ValueError:"
        " never a"
    ),
}
OF_TINY = {
    "--config.sft.step=3": (
        "--config.sft.step: no such field; did you mean --config.sft.steps?"
    ),
    "--config.sft.lr=3": (
        "--config.sft.lr: no such field; config.sft has accumulate, eval_every,"
        " optimizer, patience, row_length, rows, share_prompts, state_weight, steps"
    ),
    "--config.sfd.steps=3": (
        "--config.sfd.steps: no such field; did you mean --config.sft?"
    ),
    "--noconfig.log.wandby": (
        "--config.log.wandby: no such field; did you mean --config.log.wandb?"
    ),
    "--config.sft.steps.x=3": (
        "--config.sft.steps.x: config.sft.steps has no fields; set config.sft.steps"
    ),
    "--config.mesh=3": (
        "--config.mesh is a section; set its fields: data, fsdp, tensor"
    ),
    "--config.sft.steps=abc": "--config.sft.steps=abc: expected an integer",
    "--config.sft.steps=1.5": "--config.sft.steps=1.5: expected an integer",
    "--config.sampler.top_p=abc": "--config.sampler.top_p=abc: expected a number",
    "--config.log.wandb=maybe": "--config.log.wandb=maybe: expected true or false",
    "--config.stages=sft_SPACE_rlvr": (
        "--config.stages=sft rlvr: expected values as in a,b"
    ),
    "--config.sft.steps": (
        "--config.sft.steps has no value; write --config.sft.steps=VALUE"
    ),
    "--wrokdir=x": "no flag --wrokdir; did you mean --workdir?",
    "--zzzzz": "no flag --zzzzz; see --help",
    "extra": "unexpected argument 'extra'; flags start with --",
    "--process=1": (
        "--processes and --process need --coordinator=HOST:PORT; give it, or"
        " --distributed alone"
    ),
    "--workdir=": "--workdir is missing; give the folder of the run",
}
OF_OTHERS = {
    "train --config.sft.steps=3 --config=tiny": (
        "--config.sft.steps=3 stands before --config; put it after"
    ),
    "train --config=tiny --plan=v9-8": (
        "--plan=v9-8 is no machine; give KIND-COUNT with KIND one of t4, l4, a10,"
        " rtx3090, rtx4090, a100, h100, h200, b200, v4, v5e, v5p, v6e, such as h200-8"
        " or v5p-64 (64 cores, 32 devices), or the memory of a device as KIND, such as"
        " 24GiB-1"
    ),
    "evaluate": (
        "--checkpoint is missing; give WORKDIR/checkpoints/STAGE, a step below it,"
        " or best; or --adapter and --model"
    ),
    "evaluate --samples=x": "--samples=x: expected an integer in the range [0, 10000]",
    "evaluate --samples=1e9": (
        "--samples=1e9: expected an integer in the range [0, 10000]"
    ),
    "evaluate --checkpoint=x --samples=1000000000": (
        "--samples=1000000000: expected an integer in the range [0, 10000]"
    ),
    "evaluate --checkpoint=x --temperature=nan": (
        "temperature is nan, expected 0 or more"
    ),
    "fix a.py --tests=x --checkpoint=x --samples=1000000000": (
        "--samples=1000000000: expected an integer in the range [0, 10000]"
    ),
    "make_data --out=DIR/x --corruptions=1,99999999999999999999": (
        "--corruptions is '1,99999999999999999999'; give LOW,HIGH such as 1,5,"
        " 1 <= LOW <= HIGH <= 100"
    ),
    "make_data --out=DIR/x --per_task=1000000000": (
        "per_task is 1000000000, expected 100,000 or less"
    ),
    "make_data --out=DIR/x --seed=-1": "seed is -1, expected 0 or more",
    "evaluate --temperature=-1": "--temperature=-1: expected a non-negative number",
    "evaluate --chekpoint=x": "no flag --chekpoint; did you mean --checkpoint?",
    "make_data": (
        "--out is missing; give a folder, new or of a killed run; a new file with"
        " --kind=mbpp"
    ),
    "make_data --kind=demo --out=x": (
        "--kind=demo: expected one of demos, faulty, mbpp; did you mean demos?"
    ),
    "make_data --per_task=0": "--per_task=0: expected a positive integer",
    "fix a.py --checkpoint=x": (
        "--tests is missing; give tests as pytest takes them, or plain asserts"
    ),
    "fix --tests=x --checkpoint=x": "missing argument FILE; see --help",
    "fix a.py --dry_run=perhaps": "--dry_run=perhaps: expected true or false",
    "export --checkpoint=x": (
        "--out is missing; give a folder, empty or new; or a new GGUF file"
    ),
    "report": "missing argument WORKDIR; see --help",
    "report x --episodes=many": "--episodes=many: expected a non-negative integer",
}
CASES = {f"train --workdir=DIR/run {flag}".strip(): t for flag, t in OF_CONFIG.items()}
CASES |= {f"train --workdir=DIR/run {TINY} {flag}": t for flag, t in OF_TINY.items()}
CASES |= OF_OTHERS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with configs that cannot be read."""
    folder = tmp_path_factory.mktemp("configs")
    for name, text in CONFIGS.items():
        (folder / name).write_text(text)
    return str(folder)


@pytest.fixture(scope="module")
def command(request):
    """Return a function from a command's words to its exit code and all output."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUNNER],
        cwd=request.config.rootpath,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "GLIBC_TUNABLES": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def run(*words):
        process.stdin.write(json.dumps(words) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    with process:
        yield run


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_one_sentence(command, folder, case):
    words = case.replace("DIR", folder).split(" ")
    code, said = command(*(word.replace("_SPACE_", " ") for word in words))
    assert (code, said.replace(folder, "DIR")) == (2, f"error: {CASES[case]}\n")


@pytest.fixture
def refused(command):
    """Run a command, which must be refused; return its one sentence."""

    def run(*words):
        code, said = command(*map(str, words))
        assert code == 2 and "Traceback" not in said, said
        (sentence,) = [x for x in said.splitlines() if x.startswith("error: ")]
        return sentence

    return run


def test_help_tells_the_modules_own_flags(request):
    command = [sys.executable, "-m", "repair.report", "--help"]
    root = request.config.rootpath
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert "Writes one HTML page" in done.stdout and "--[no]terminal" in done.stdout
    assert done.returncode == 0


def test_help_imports_no_jax():
    """It would take seconds, at every start that allocator settings repeat."""
    names = "train evaluate make_data fix export report".split()
    imports = ", ".join(f"repair.{name}" for name in names)
    code = f"import sys, {imports}; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_the_version_is_told(command):
    version = importlib.metadata.version("repair")
    assert command("train", "--version") == [0, f"repair {version}\n"]


def test_the_docstring_of_a_config_tells_what_to_expect(tmp_path):
    file = tmp_path / "mine.py"
    lines = ("Figures:", "", "  none   5 minutes;", "         pass@1 10", "")
    file.write_text('"""Mine.\n\n' + "\n".join(lines) + '  big    2 hours\n"""\n')
    assert expected_figures(file, "") == "5 minutes; pass@1 10"
    assert expected_figures(file, "big") == "2 hours"
    assert expected_figures(file, "huge") == ""
    file.write_text("x = 1\n")
    assert expected_figures(file, "") == ""


def test_stages_may_be_separated_by_commas(refused, tmp_path):
    """They pass in the right order; the missing task set is refused later."""
    command = "train", TINY, f"--workdir={tmp_path}", "--config.tasks.train=nowhere"
    said = refused(*command, "--config.stages=eval,rlvr")
    assert "('eval', 'rlvr')" in said and "in the order rlvr,eval" in said
    assert "unknown tasks 'nowhere'" in refused(*command, "--config.stages=rlvr,eval")


def test_runs_that_are_none_are_refused(refused, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert "b holds no run" in refused("report", tmp_path, tmp_path / "b")


def test_a_misspelt_field_leaves_no_trace(refused, tmp_path):
    refused("train", TINY, f"--workdir={tmp_path}", "--config.sft.stepz=3")
    assert list(tmp_path.iterdir()) == []


def test_a_workdir_below_a_file_is_refused(refused, tmp_path):
    (tmp_path / "file").write_text("")
    said = refused("train", TINY, f"--workdir={tmp_path}/file/run")
    assert "cannot be written" in said


def test_a_workdir_of_another_config_is_refused_by_field(refused, tmp_path):
    config = tiny.get_config()
    config.tasks.train_count = config.tasks.eval_count = 4
    open_workdir(tmp_path, read(config))
    (tmp_path / "checkpoints/sft/1/rest").mkdir(parents=True)
    counts = "--config.tasks.train_count=4", "--config.tasks.eval_count=4"
    rows = "--config.sft.rows=7"
    said = refused("train", TINY, f"--workdir={tmp_path}", *counts, rows)
    assert "sft.rows: 5 there, 7 here" in said


def test_a_missing_checkpoint_is_refused(refused, tmp_path):
    folder = tmp_path / "checkpoints" / "sft"
    assert "no checkpoint" in refused("evaluate", f"--checkpoint={folder}")
