"""The worked example of docs/your_own_tool.md: its parts, its run, and its page."""

import ast
import collections
import pathlib
import random
import re

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import calculator
from examples.calculator import Calculator, StackCalculator
from repair.demos import demonstrate
from repair.env import Environment, FunctionVerifier, MalformedCommand
from repair.errors import UserError
from repair.tasks import Bug, Task
from repair.training import run as experiment
from repair.training.checkpoint import load_params
from repair.training.config import read
from repair.training.metrics import MetricsWriter, read_metrics
from repair.training.policy import load_model, load_policy
from repair.training.task_set import RepairTaskSet, open_task_set

ROOT = pathlib.Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "your_own_tool.md"


def short(**fields):
    """Return the example's config, made small; fields as section__field."""
    c = calculator.get_config()
    c.checkpoint_every = 1000
    c.tasks.train_count, c.tasks.eval_count = 60, 6
    c.model.width, c.model.mlp_width, c.model.layers = 32, 64, 1
    c.model.heads, c.model.kv_heads, c.model.head_size = 2, 1, 16
    c.sampler.slots, c.sampler.cohorts, c.sampler.lengths = 8, 1, ()
    c.sft.steps = 100
    c.rlvr.steps, c.rlvr.problems, c.rlvr.samples, c.rlvr.rows = 2, 6, 4, 4
    c.eval.samples = 2
    c.rewards.malformed = -0.5  # what tells beginners apart
    for name, value in fields.items():
        c[name.split("__")[0]][name.split("__")[1]] = value
    return read(c)


def quiet(line):
    """Take what a run reports."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(workdir, results) of a short run."""
    workdir = tmp_path_factory.mktemp("calculator")
    with jax.default_matmul_precision("float32"):
        return workdir, experiment.run(short(), workdir, quiet, task_set=Calculator)


COMMANDS = st.sampled_from(["PUSH 7", "PUSH 2", "ADD", "SUB", "MUL", "SWAP", "EXIT"])


@given(st.lists(COMMANDS), st.text() | COMMANDS.map(lambda c: c + "\n"))
def test_the_tool_takes_any_string_and_a_malformed_one_leaves_the_state(some, last):
    tool = StackCalculator("3 -4 5")
    for command in (*some, last):
        before = tool.code
        try:
            assert tool.apply(command) == (command == "EXIT")
        except MalformedCommand as error:
            assert "\n" not in error.reason and tool.code == before
        assert tool.render() == f"{tool.code}\n"
        assert StackCalculator(tool.code).code == tool.code


def test_operands_keep_their_order():
    tool = StackCalculator("9 2")
    tool.apply("SUB")
    assert tool.code == "7"
    for command in ("PUSH 3", "SWAP", "SUB"):
        tool.apply(command)
    assert tool.code == "-4"


def test_the_oracle_solves_every_task_and_none_is_held_out_twice():
    task_set = Calculator(short(tasks__train_count=400, tasks__eval_count=100))
    train, held = task_set.tasks()
    assert (len(train), len(held)) == (400, 100)
    assert len({task.text for task in (*train, *held)}) == 500
    demos, made = task_set.demos([*train, *held], task_set.open_verifier())
    assert (made.made, made.dropped) == (500, {})
    for demo in demos:
        assert demo.commands[-1] == "EXIT" and demo.states[-1].endswith("***\n\n")
        assert str(eval(demo.bug.task.text)) == demo.states[-1].split("\n")[0]
        assert demo.bug.corruptions == len(demo.bug.task.text.split(" ")) // 2
    assert {demo.bug.corruptions for demo in demos} == {2, 3}


TASK = Task("t", "(2 + 4) * 7", "42", ("42",))
FORGERIES = [
    ["EXIT"],
    ["PUSH 42", "EXIT"],
    ["42", "EXIT"],
    ["PUSH (2 + 4) * 7", "EXIT"],
    ["PUSH 4", "PUSH 2", "EXIT"],
    ["PUSH 2", "PUSH 4", "ADD", "PUSH 7", "MUL\n***\n", "EXIT"],
    ["PUSH 9", "PUSH 2", "PUSH 4", "ADD", "PUSH 7", "MUL", "EXIT"],
]


@pytest.mark.parametrize("commands", FORGERIES, ids=" ".join)
def test_the_verifier_is_not_fooled(commands):
    task_set = Calculator(short())
    verifier = task_set.open_verifier()
    environment = Environment(verifier, task_set.config.rewards, 10, task_set.make_tool)
    (bug,) = task_set.bugs([TASK], verifier, 0)
    assert not environment.reset(bug).passed
    turns = [environment.step(command) for command in commands]
    assert all(turn.reward <= 0 for turn in turns)
    assert turns[-1].status == "exited_unsolved"
    assert verifier.counts["passed"] == 0 < verifier.counts["failed"]
    assert task_set.prompt(TASK) == "(2 + 4) * 7\n"


@pytest.mark.parametrize("said", [None, True, "two\nlines"])
def test_a_check_that_gives_no_line_is_no_verdict(said):
    with pytest.raises(TypeError, match="expected one line"):
        FunctionVerifier(lambda state, test: said).map([("", ("1",), "")])


def test_solving_earns_once_whatever_the_way_there():
    """PUSH 0 takes the solved state away, and ADD brings it back."""
    task_set = Calculator(short())
    environment = Environment(task_set.open_verifier(), None, 12, task_set.make_tool)
    environment.reset(Bug("t", TASK, ""))
    said = ["PUSH 7", "PUSH 6", "MUL", "PUSH 0", "ADD", "EXIT"]
    turns = [environment.step(command) for command in said]
    assert [turn.reward for turn in turns] == [0, 0, 1, -1, 1, 0]
    assert turns[-1].status == "solved"


def test_trees_and_texts_are_the_same_expression():
    rng = random.Random(5)
    for _ in range(200):
        tree = calculator.expression(rng, rng.randint(1, 4))
        text = ast.unparse(tree)
        assert ast.dump(ast.parse(text, mode="eval").body) == ast.dump(tree)


@pytest.mark.slow
def test_the_run_goes_through_all_stages(finished):
    workdir, results = finished
    assert list(results["stages"]) == ["init", "sft", "rlvr"]
    assert results["demos"].pop("digest")
    assert results["demos"] == {"made": 60, "dropped": {}}
    assert "sandbox" not in results  # nothing ran in one
    rows = collections.defaultdict(list)
    for row in read_metrics(workdir / "metrics.jsonl"):
        rows[row["stage"]].append(row)
    assert rows["sft"][-1]["command_loss"] < rows["sft"][0]["command_loss"] / 2
    assert len(rows["rlvr"]) == 2
    for row in rows["rlvr"]:
        assert row["log_prob_gap"] < 1e-4 and row["sandbox_failed"] > 0
        assert row["malformed"] < 1 and row["gradient_norm"] > 0


@pytest.mark.slow
def test_a_killed_run_ends_in_the_same_bits(finished, tmp_path, monkeypatch):
    whole, results = finished
    write = MetricsWriter.write

    class Killed(BaseException):
        pass

    def killing(self, stage, step, **values):
        write(self, stage, step, **values)
        if (stage, step) == ("rlvr", 1):
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(MetricsWriter, "write", killing)
        with pytest.raises(Killed):
            experiment.run(short(), tmp_path, quiet, task_set=Calculator)
    again = experiment.run(short(), tmp_path, quiet, task_set=Calculator)
    for stage in ("sft", "rlvr"):
        assert again["stages"][stage]["pass@1"] == results["stages"][stage]["pass@1"]
        expected, _ = load_params(whole / "checkpoints" / stage)
        found, _ = load_params(tmp_path / "checkpoints" / stage)
        jax.tree.map(np.testing.assert_array_equal, found, expected)
    for path in (whole / "trajectories").iterdir():
        assert path.read_text() == (tmp_path / "trajectories" / path.name).read_text()


@pytest.mark.slow
def test_whoever_does_not_know_the_task_set_is_told(finished, tmp_path):
    workdir, _ = finished
    checkpoint = workdir / "checkpoints" / "rlvr"
    with pytest.raises(UserError, match="task_set is 'calculator', but this runs 'rep"):
        experiment.run(short(), workdir, quiet)
    with pytest.raises(UserError, match="task_set is 'calculator'"):
        load_policy(checkpoint)
    with pytest.raises(UserError, match="task_set is 'calculator'"):
        load_model(checkpoint)
    other = short().__class__()  # a config of repair
    with pytest.raises(UserError, match="task_set is 'repair', but this runs 'calc"):
        experiment.run(other, tmp_path / "other", quiet, task_set=Calculator)
    assert not (tmp_path / "other").exists()


def test_what_only_the_editor_can_do_is_refused():
    with pytest.raises(UserError, match="demos.path is for the tools of the task set"):
        open_task_set(short(demos__path="somewhere"), Calculator)


def test_more_expressions_than_there_are_are_refused():
    task_set = Calculator(short(tasks__train_count=1_000_000))
    with pytest.raises(UserError, match="train_count may be 99994 at most"):
        task_set.tasks()


def test_a_bug_without_commands_is_refused():
    task_set = Calculator(short())
    bug = task_set.bugs(task_set.tasks()[1], None, 0)[0]
    with pytest.raises(ValueError, match="no commands"):
        demonstrate([(bug, [])], task_set.open_verifier(), task_set.make_tool, 5)


def test_a_mode_of_the_editor_is_refused():
    c = calculator.get_config()
    c.mode = "direct"
    with pytest.raises(UserError, match="mode='direct' is for the tools"):
        open_task_set(read(c), Calculator)


def test_a_task_set_that_keeps_the_editor_keeps_what_goes_with_it():
    class Other(RepairTaskSet):
        name = "other"

        def prompt(self, task):
            return task.text

    c = calculator.get_config()
    c.task_set, c.demos.path = "other", "somewhere"
    opened = open_task_set(read(c), Other)
    assert opened.prompt(TASK) == TASK.text


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of the page."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_page_shows_the_files_own_text():
    source = (ROOT / "examples" / "calculator.py").read_text()
    *shown, _ = blocks("python")
    assert len(shown) > 4
    for block in shown:
        assert block in source, block


@pytest.mark.slow
def test_the_pages_last_block_measures_a_checkpoint(finished, tmp_path, monkeypatch):
    workdir, results = finished
    *_, block = blocks("python")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "calculator").symlink_to(workdir)
    names = {}
    exec(block, names)
    assert names["figures"]["pass@1"] == results["stages"]["rlvr"]["pass@1"]
    written = (tmp_path / "evaluation.jsonl").read_text()
    assert written == (workdir / "trajectories" / "eval_rlvr.jsonl").read_text()
