"""Episodes: their lists stay in step, and only commands have loss."""

import dataclasses

import numpy as np
import pytest

from repair.demos.make import Demo
from repair.demos.traces import Trace
from repair.tasks import Bug, Task
from repair.text.episodes import Episode, encode_demos, encode_traces
from repair.text.tokenizer import Tokenizer, train_tokenizer

TASK = Task(1, "Add one.", "def f(x):\n    return x + 1", ("assert f(1) == 2",))
DEMO = Demo(
    Bug("1/0", TASK, "def f(x):\n    x\n    return x"),
    (
        "L 1 def f(x):\nL 2     x\nL 3     return x\n***\nf(1): got 1\n",
        "L 1 def f(x):\nL 2     return x\n***\nf(1): got 1\n",
        "L 1 def f(x):\nL 2     return x + 1\n***\n\n",
    ),
    ("### DELL 2", "### REPL 2 >>>    return x + 1", "### EXIT"),
)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(train_tokenizer([*DEMO.states, *DEMO.commands], 300), "short")


def test_append_keeps_the_lists_in_step():
    episode = Episode()
    episode.append([5, 6])
    episode.append(np.array([7, 8]), 0, [-0.5, -1.5])
    episode.append([9])
    episode.append([4], 1, [-2.5])
    assert dataclasses.astuple(episode) == (
        [5, 6, 7, 8, 9, 4],
        [0, 0, 1, 1, 0, 1],
        [0.0, 0.0, -0.5, -1.5, 0.0, -2.5],
        [-1, -1, 0, 0, -1, 1],
    )
    with pytest.raises(ValueError, match="2 ids but 1 log-probs"):
        episode.append([1, 2], 2, [-0.1])
    assert len(episode) == len(episode.turns) == 6


def test_demo_has_loss_on_its_commands_and_their_newlines_only(tokenizer):
    (episode,) = encode_demos(tokenizer, [DEMO])
    ids, mask, turns = episode.ids, episode.mask, episode.turns
    for turn, command in enumerate(DEMO.commands):
        assert tokenizer.decode(ids[turns == turn]) == command + "\n"
        assert ids[turns == turn][-1] == tokenizer.newline_id
    assert (mask == (turns >= 0)).all()
    environment = tokenizer.decode(ids[mask == 0])
    assert environment == "Add one.\nassert f(1) == 2\n" + "".join(DEMO.states)
    assert episode.ids[-1] == tokenizer.newline_id and mask[-1] == 1


def test_an_example_takes_6_bytes_a_token(tokenizer):
    """Python lists take 78 or more."""
    examples = encode_demos(tokenizer, [DEMO] * 3)
    held = [getattr(e, f.name) for e in examples for f in dataclasses.fields(e)]
    assert sum(array.nbytes for array in held) == 6 * sum(map(len, examples)) > 0
    assert all(array.base is None for array in held)  # no view of something larger


def test_context_of_a_turn_is_a_prefix_of_the_next(tokenizer):
    """However many turns a demonstration has, its start has the same ids."""
    (whole,) = encode_demos(tokenizer, [DEMO])
    for turns in (1, 2):
        cut = dataclasses.replace(
            DEMO, states=DEMO.states[:turns], commands=DEMO.commands[:turns]
        )
        (start,) = encode_demos(tokenizer, [cut])
        np.testing.assert_array_equal(whole.ids[: len(start)], start.ids)
        np.testing.assert_array_equal(whole.turns[: len(start)], start.turns)
    segments = [tokenizer.prompt_ids(TASK)]
    for state, command in zip(DEMO.states, DEMO.commands, strict=True):
        segments += [tokenizer.encode(state), tokenizer.encode(command + "\n")]
    assert whole.ids.tolist() == sum(segments, [])


def test_a_trace_is_one_answer_and_only_that_is_learnt():
    tokenizer = train_tokenizer(["What is 2 + 2? four"], 300, ("<pad>", "<end>"))
    tokenizer = Tokenizer(
        tokenizer, "short", mode="cot", eos_ids=[tokenizer.token_to_id("<end>")]
    )
    (episode,) = encode_traces(tokenizer, [Trace("What is 2 + 2?", "Two\ntwice.\n4")])
    answer = [i for i, m in zip(episode.ids, episode.mask, strict=True) if m]
    assert tokenizer.decode(answer) == "Two\ntwice.\n4<end>"
    asked = episode.ids[: -len(answer)]
    assert tokenizer.decode(asked) == "What is 2 + 2?\n"
    assert set(episode.turns[len(asked) :]) == {0}
