"""Drafts: how a model is asked, what of its answer is the program, which are kept."""

import json

import pytest

from repair.env.environment import StepResult
from repair.rollout.rollout import Rollout
from repair.tasks import Bug, Task
from repair.tasks.jsonl import read_jsonl
from repair.text.episodes import Episode
from repair.text.prompts import render_examples
from repair.text.tokenizer import Tokenizer, train_tokenizer
from repair.training.drafts import DraftConfig, draft, keep_faulty

EXAMPLES = [
    Task(f"e{n}", f"Give {n}.", f"def g():\n    return {n}", (f"assert g() == {n}",))
    for n in range(3)
]
TASKS = [
    Task(n, "Add one.", "def f(x):\n    return x + 1", (f"assert f({n}) == {n + 1}",))
    for n in range(2)
]
CONFIG = DraftConfig(samples=3, max_tokens=12, max_length=400, slots=4, keep=2)


@pytest.fixture(scope="module")
def writer_codec():
    texts = [render_examples(EXAMPLES, task) + task.code + "\n```\n" for task in TASKS]
    return Tokenizer(train_tokenizer(texts * 3, 300), "short")


def test_a_model_is_asked_by_examples_and_stops_at_the_fence(writer_codec):
    tokenizer = writer_codec
    writer = tokenizer.with_examples(EXAMPLES)
    text = writer.decode(writer.prompt_ids(TASKS[1]))
    assert text.count("Task: ") == 4 and text.count("```\n") == 7
    assert "Give 2.\nTests:\nassert g() == 2\nProgram:\n```\ndef g():" in text
    assert text.endswith("Add one.\nTests:\nassert f(1) == 2\nProgram:\n```\n")
    ids = tokenizer.encode("def f(x):\n    return 2\n```\nTask: another")
    assert writer.command_text(ids) == "def f(x):\n    return 2\n"
    fence = tokenizer.encode("```")
    assert [writer.ends(i) for i in fence][-1]
    assert not any(
        writer.ends(i) for i in tokenizer.encode("def f(x):\n    return 2\n")
    )
    # The tokenizer itself still repairs.
    assert tokenizer.mode == "coe" and tokenizer.ends(tokenizer.newline_id)


@pytest.mark.slow
def test_drafts_are_the_text_that_was_sampled(model, params, writer_codec, sandbox):
    writer = writer_codec.with_examples(EXAMPLES)

    def sample(seed=0):
        config = DraftConfig(**vars(CONFIG) | {"seed": seed})
        return draft(model, params, writer, TASKS, sandbox, config)

    played = sample()
    assert [(r.bug.task, r.sample) for r in played] == [
        (task, n) for task in TASKS for n in range(3)
    ]
    for r in played:
        prompt = writer.prompt_ids(r.bug.task)
        assert r.episode.ids[: len(prompt)] == prompt
        said = r.episode.ids[len(prompt) :]
        assert 1 <= len(said) <= 12 and r.episode.mask[len(prompt) :] == [1] * len(said)
        assert r.code == writer.command_text(said).strip("\n")
        assert (r.code, *r.bug.task.test_list) in {(j[0], *j[1]) for j in sandbox.jobs}
    codes = [r.code for r in played]
    assert codes == [r.code for r in sample()] and codes != [r.code for r in sample(1)]


def drafted(tokenizer, task, sample, text, passed=False):
    writer, episode = tokenizer.with_examples(EXAMPLES), Episode()
    episode.append(writer.prompt_ids(task))
    ids = tokenizer.encode(text)
    episode.append(ids, 0, [0.0] * len(ids))
    code = writer.command_text(ids).strip("\n")
    initial = StepResult("", 0.0, False, None, False, False)
    step = StepResult("", 0.0, True, "max_turns", passed, False)
    bug = Bug("", task, "")
    return Rollout(bug, sample, episode, initial, [step], [text], code)


def test_unique_failing_programs_are_kept_and_the_rest_counted(
    writer_codec, sandbox, tmp_path
):
    tokenizer = writer_codec
    one, two = TASKS
    texts = [
        (one, "def f(x):\n    return x\n```", False),
        (one, "def f(x):\n    return x\n```", False),
        (one, "def f(x):\n    return x + 1\n```", True),
        (one, "\n```", False),
        (one, "def f(x):\n    return", False),
        (one, "def f(x):\n    return 1\n```", False),
        (one, "def f(x):\n    return 2\n```", False),
        (two, "def f(x):\n    return x\n```", False),
    ]
    rows, report = keep_faulty(
        [drafted(tokenizer, t, n, text, ok) for n, (t, text, ok) in enumerate(texts)],
        tokenizer.with_examples(EXAMPLES),
        sandbox,
        CONFIG,
    )
    assert [row["task_id"] for row in rows] == ["0/0", "0/5", "1/7"]
    assert [row["edit_distance"] for row in rows] == [4, 4, 4]
    assert (report.drafts, report.kept, report.tasks) == (8, 3, 2)
    assert report.passed == pytest.approx(1 / 8)
    assert report.left_out == {
        "same program": 1,
        "passes": 1,
        "empty": 1,
        "cut": 1,
        "enough of the task": 1,
    }
    assert report.classes == {"failed": 1.0}
    assert report.edit_distance == pytest.approx(4.0)
    path = tmp_path / "faulty.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = read_jsonl(path)
    assert [t.faulty_code for t in tasks] == [row["faulty_code"] for row in rows]
    assert tasks[0].code == one.code and tasks[0].test_list == one.test_list
