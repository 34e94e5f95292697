"""A whole small run, and runs that resume it with other settings or damaged files."""

import dataclasses
import json
import shutil
import types

import jax
import numpy as np
import pytest

from repair.errors import UserError
from repair.rollout.rollout import Rollout
from repair.tasks import Bug, Task
from repair.training import machine
from repair.training import run as experiment
from repair.training.checkpoint import load_params
from repair.training.config import Config, defaults, read
from repair.training.metrics import read_metrics
from repair.training.optimizer import OptimizerConfig
from repair.training.policy import load_policy
from repair.training.task_set import RepairTaskSet


def small() -> Config:
    c = defaults()
    c.checkpoint_every = 1
    c.tasks.train_count = 20
    c.tasks.eval_count = 6
    c.demos.per_task = 2
    c.demos.max_corruptions = 1
    c.text.prompt = "short"
    c.text.max_turns = 2
    c.text.max_length = 512
    c.text.max_command = 6
    c.model.vocab_size = 400
    c.model.width = 16
    c.model.mlp_width = 32
    c.model.layers = 1
    c.model.heads = 2
    c.model.kv_heads = 1
    c.model.head_size = 8
    c.sampler.slots = 8
    c.sampler.block = 64
    c.sampler.lengths = (512,)
    c.sft.steps = 4
    c.sft.rows = 2
    c.sft.row_length = 512
    c.rlvr.steps = 2
    c.rlvr.problems = 4
    c.rlvr.samples = 2
    c.rlvr.rows = 2
    c.rlvr.row_length = 512
    c.eval.samples = 2
    return read(c)


def timeless(value):
    """Return the same JSON without what a clock told."""
    if isinstance(value, dict):
        return {
            k: timeless(v)
            for k, v in value.items()
            if "seconds" not in k and k != "idle_share"
        }
    return [timeless(v) for v in value] if isinstance(value, list) else value


@pytest.fixture(scope="module", autouse=True)
def _rewards_that_differ():
    """Give rewards that differ: an untrained model earns the same every time."""

    def by_length(rollout):
        return np.array([len(command) % 4 for command in rollout.commands], float)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Rollout, "rewards", property(by_length))
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(config, workdir, results, lines reported) of a run that nobody killed."""
    workdir, lines = tmp_path_factory.mktemp("whole"), []
    with jax.default_matmul_precision("float32"):
        results = experiment.run(small(), workdir, report=lines.append)
    return small(), workdir, results, lines


@pytest.mark.slow
def test_a_run_leaves_what_the_contract_says(finished):
    config, workdir, results, lines = finished
    assert json.loads((workdir / "results.json").read_text()) == results
    assert list(results["stages"]) == ["init", "sft", "rlvr"]
    for stage, figures in results["stages"].items():
        for name in ("pass@1", "pass@2"):
            rate = figures[name]
            assert set(rate) == {"mean", "low", "high"}
            assert 0 <= rate["low"] <= rate["mean"] <= rate["high"] <= 1
        path = workdir / "trajectories" / f"eval_{stage}.jsonl"
        records = [json.loads(line) for line in path.read_text().splitlines()]
        assert len(records) == figures["bugs"] * (1 + config.eval.samples)
        assert sum(figures["by_status"].values()) == figures["bugs"]
        for record in records:
            assert 1 <= len(record["turns"]) <= config.text.max_turns
            assert record["status"] is not None
            assert all(len(t["tokens"]) == len(t["log_probs"]) for t in record["turns"])
    for step in (1, 2):  # the first and the last
        path = workdir / "trajectories" / f"rlvr_{step}.jsonl"
        records = [json.loads(line) for line in path.read_text().splitlines()]
        assert len(records) == config.rlvr.problems * config.rlvr.samples
        assert any(t["advantage"] for r in records for t in r["turns"])
    saved = json.loads((workdir / "config.json").read_text())
    assert saved == json.loads(json.dumps(dataclasses.asdict(config)))
    assert (workdir / "tokenizer" / "tokenizer.json").exists()
    for stage, step in (("sft", 4), ("rlvr", 2)):
        assert (workdir / "checkpoints" / stage / str(step)).is_dir()
    rows = read_metrics(workdir / "metrics.jsonl")
    assert all(row["gradient_norm"] > 0 for row in rows if row["stage"] == "rlvr")
    assert all(row["seconds_step"] > 0 for row in rows if row["stage"] != "eval")
    steps = [(row["stage"], row["step"]) for row in rows if row["stage"] != "eval"]
    assert steps == [("sft", n) for n in range(1, 5)] + [("rlvr", 1), ("rlvr", 2)]
    assert any("held out" in line for line in lines)


@pytest.mark.slow
def test_a_finished_run_is_not_run_again(finished):
    config, workdir, results, _ = finished
    before = (workdir / "metrics.jsonl").read_text()
    assert experiment.run(config, workdir, report=lambda line: None) == results
    assert (workdir / "metrics.jsonl").read_text() == before


@pytest.mark.slow
def test_a_stage_ends_with_its_budget_of_tokens(tmp_path):
    config = small()
    rlvr = dataclasses.replace(config.rlvr, steps=5, sampled_tokens=100)
    config = dataclasses.replace(config, rlvr=rlvr, stages=("sft", "rlvr"))
    experiment.run(config, tmp_path, report=lambda line: None)
    metrics = (tmp_path / "metrics.jsonl").read_text()
    rows = [r for r in read_metrics(tmp_path / "metrics.jsonl") if r["stage"] == "rlvr"]
    spent = [row["sampled_tokens"] for row in rows]
    assert len(rows) < 5 and sum(spent) >= 100 > sum(spent[:-1])
    assert (tmp_path / "checkpoints" / "rlvr" / str(len(rows))).is_dir()
    experiment.run(config, tmp_path, report=lambda line: None)
    assert (tmp_path / "metrics.jsonl").read_text() == metrics


@pytest.mark.slow
def test_tasks_without_a_reward_are_said_before_rlvr():
    tests = [("assert f(1) == f(1)",)] * 4 + [("assert f(1) == 2",)]
    bugs = [Bug(f"{i}/0", Task(i, "t", "c", each), "x") for i, each in enumerate(tests)]
    said = []
    verifier = types.SimpleNamespace(level="full")
    experiment._report_unrewarded(bugs, small(), verifier, said.append)
    assert len(said) == 1
    assert said[0].startswith("4 of 5 tasks can never earn a reward, because a test of")
    assert "0, 1, 2, ... (rewards.trust_in_child=True" in said[0]
    experiment._report_unrewarded(bugs[4:], small(), verifier, said.append)
    assert len(said) == 1


def test_another_config_is_refused_by_field(finished):
    config, workdir, _, _ = finished
    other = dataclasses.replace(config, seed=7)
    with pytest.raises(UserError, match="seed: 0 there, 7 here"):
        experiment.run(other, workdir, report=lambda line: None)


def changed(**fields) -> Config:
    """Return a shorter small run with other settings, as section__field."""
    config = small()
    short = {"sft__steps": 2, "rlvr__steps": 1, "tasks__train_count": 8}
    for name, value in (short | fields).items():
        if "__" in name:
            section, field = name.split("__")
            part = dataclasses.replace(getattr(config, section), **{field: value})
            config = dataclasses.replace(config, **{section: part})
        else:
            config = dataclasses.replace(config, **{name: value})
    return config


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["direct", "cot"])
def test_answers_in_one_piece_take_the_same_way(tmp_path, mode):
    config = changed(mode=mode, text__max_command=24)
    results = experiment.run(config, tmp_path, report=lambda line: None)
    assert list(results["stages"]) == ["init", "sft", "rlvr"]
    for stage in results["stages"]:
        path = tmp_path / "trajectories" / f"eval_{stage}.jsonl"
        for record in map(json.loads, path.read_text().splitlines()):
            assert len(record["turns"]) == 1
            assert "L 1 " not in record["turns"][0]["state"]
    policy = load_policy(tmp_path / "checkpoints" / "rlvr")
    policy.verifier.close()
    assert policy.engine.tokenizer.mode == mode
    assert policy.engine.tokenizer.decode(policy.engine.tokenizer.end_ids) == "<end>"
    policy = load_policy(tmp_path / "checkpoints" / "rlvr", max_turns=7, top_k=3)
    policy.verifier.close()
    assert policy.config.text.max_turns == 7
    assert policy.config.sampler.sampling(0.5).top_k == 3
    with pytest.raises(UserError, match="sampler.top_p is 0.0"):
        load_policy(tmp_path / "checkpoints" / "rlvr", top_p=0.0)


@pytest.mark.slow
def test_thinking_is_learnt_from_traces(tmp_path):
    """Stage one on them alone; they are read before anything else is done."""
    path = tmp_path / "s1k.jsonl"
    answer = {"thinking_trajectories": ["So."], "attempt": "4"}
    rows = [{"question": "2 + 2? " * n} | answer for n in range(1, 40)]
    rows.append({"question": "too long " * 600} | answer)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = changed(mode="cot", demos__traces=str(path), stages=("sft",))
    lines = []
    experiment.run(config, tmp_path / "run", report=lines.append)
    (told,) = (line for line in lines if line.startswith("sft: "))
    assert told.startswith("sft: 39 demonstrations") and "; 1 too long" in told
    path.write_text("no JSON")
    lines.clear()
    with pytest.raises(UserError, match="s1k.jsonl:1: not valid JSON"):
        experiment.run(config, tmp_path / "other", report=lines.append)
    assert not any(line.startswith("tasks") for line in lines)


@pytest.mark.slow
def test_made_demonstrations_take_the_place_of_the_runs_own(finished, tmp_path):
    """The same bits as from the run's own; a copy lies in the workdir."""
    config, whole, _, _ = finished
    lines = (whole / "demos.jsonl").read_bytes()
    path = tmp_path / "made.jsonl"
    path.write_bytes(lines)
    demos = dataclasses.replace(config.demos, path=str(path))
    config = dataclasses.replace(config, demos=demos, stages=("sft",))
    experiment.run(config, tmp_path / "run", report=lambda line: None)
    expected, _ = load_params(whole / "checkpoints" / "sft")
    found, _ = load_params(tmp_path / "run" / "checkpoints" / "sft")
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert (tmp_path / "run" / "demos.jsonl").read_bytes() == lines
    path.unlink()  # no longer needed
    experiment.run(config, tmp_path / "run", report=lambda line: None)


@pytest.mark.slow
def test_demonstrations_of_held_out_programs_are_refused(finished, tmp_path):
    config, whole, _, _ = finished
    lines = (whole / "demos.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    tasks = RepairTaskSet(config).tasks()[1]
    rows[2]["task"]["code"] = tasks[0].code
    path = tmp_path / "made.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    demos = dataclasses.replace(config.demos, path=str(path))
    config = dataclasses.replace(config, demos=demos)
    with pytest.raises(UserError, match="demonstration 3 of .*which is held out"):
        experiment.run(config, tmp_path / "run", report=lambda line: None)


def numbers_of(rows):
    return [{k: v for k, v in row.items() if type(v) in (int, float)} for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("slots", [8, 3])
def test_a_run_resumed_with_fewer_slots_and_more_steps_equals_a_long_one(
    tmp_path, slots
):
    """Under a constant learning rate: to the bits with as many slots.

    Other slots multiply matrices of other shapes, which moves the last bits of the
    sampler's log-probs; the episodes stay the same.
    """
    constant = OptimizerConfig(decay="constant", warmup=1)
    common = {"rlvr__optimizer": constant, "rlvr__trajectories_every": 1}
    both = ("sft", "rlvr")
    config = changed(stages=both, rlvr__steps=4, sampler__slots=slots, **common)
    experiment.run(config, tmp_path / "long", report=lambda line: None)
    said = []
    for changes in (
        {"stages": ("sft",), "rlvr__steps": 2},
        {"stages": both, "rlvr__steps": 2, "checkpoint_every": 7},
        {"stages": both, "rlvr__steps": 4, "sampler__slots": slots},
    ):
        again = changed(**common, **changes)
        experiment.run(again, tmp_path / "short", report=said.append)
    assert any(line.startswith("resumed with other settings: ") for line in said)
    folders = [tmp_path / name for name in ("short", "long")]
    rows = [timeless(read_metrics(w / "metrics.jsonl")) for w in folders]
    same = slots == changed(**common).sampler.slots
    if same:
        assert rows[0] == rows[1]
    for ours, theirs in zip(*map(numbers_of, rows), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-6)
    for step in range(1, 5):
        ours, theirs = (
            [json.loads(x)["turns"] for x in path.read_text().splitlines()]
            for path in (w / "trajectories" / f"rlvr_{step}.jsonl" for w in folders)
        )
        assert [[t["tokens"] for t in e] for e in ours] == [
            [t["tokens"] for t in e] for e in theirs
        ]
    for stage in ("sft", "rlvr"):
        found, expected = (load_params(w / "checkpoints" / stage)[0] for w in folders)
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, atol=0 if same else 1e-4),
            found,
            expected,
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["results.json", "tokenizer", "demos.jsonl"])
def test_what_follows_from_the_rest_is_made_anew(finished, tmp_path, name):
    """Torn by a full disk, or by hand."""
    config, whole, results, _ = finished
    workdir = shutil.copytree(whole, tmp_path / "run")
    path = workdir / name
    torn = path / "tokenizer.json" if path.is_dir() else path
    torn.write_bytes(torn.read_bytes()[:-40])
    said = []
    again = experiment.run(config, workdir, report=said.append)
    assert any("damaged and set aside" in line for line in said)
    assert again["stages"].keys() == results["stages"].keys()
    for stage, figures in results["stages"].items():
        assert timeless(again["stages"][stage]) == timeless(figures)
    for each in whole.rglob("*.json*"):
        if each.name in ("demos.jsonl", "tokenizer.json", "tokenizer_config.json"):
            place = workdir / each.relative_to(whole)
            assert place.read_bytes() == each.read_bytes()


@pytest.mark.slow
def test_a_tokenizer_of_another_run_is_refused(finished, tmp_path):
    config, whole, _, _ = finished
    workdir = shutil.copytree(whole, tmp_path / "run")
    path = workdir / "tokenizer" / "tokenizer_config.json"
    path.write_text(path.read_text().replace("{", '{"more": 1, ', 1))
    with pytest.raises(UserError, match="tokenizer is not what the checkpoint was"):
        experiment.run(config, workdir, report=lambda line: None)
    with pytest.raises(UserError, match="is not the tokenizer that the checkpoint"):
        load_policy(workdir / "checkpoints" / "rlvr")


@pytest.mark.slow
def test_a_gpu_without_bfloat16_trains_in_float32_and_the_config_stays(
    tmp_path, monkeypatch
):
    config, lines = small(), []
    model = dataclasses.replace(config.model, dtype="bfloat16")
    sft = dataclasses.replace(config.sft, steps=1)
    config = dataclasses.replace(config, model=model, sft=sft, stages=("sft",))
    with monkeypatch.context() as patched:
        patched.setattr(machine, "_capability", lambda device: 7.5)
        experiment.run(config, tmp_path, report=lines.append)
        checkpoint = tmp_path / "checkpoints" / "sft"
        policy = load_policy(checkpoint, report=lines.append)
    with policy.verifier:  # closed at once
        assert policy.model.config.dtype == "float32"
    assert sum("has no bfloat16" in line for line in lines) == 1
    assert any(line.endswith("the model in float32") for line in lines)
    _, extra = load_params(checkpoint)
    assert extra["model"]["dtype"] == "float32"
    assert json.loads((tmp_path / "config.json").read_text())["model"]["dtype"] == (
        "bfloat16"
    )
    longer = dataclasses.replace(config, sft=dataclasses.replace(sft, steps=2))
    experiment.run(longer, tmp_path, report=lines.append)  # on a GPU that has it
    assert load_params(checkpoint)[1]["model"]["dtype"] == "bfloat16"
