"""Episodes grow in lockstep, and packing neither cuts, loses nor mixes them."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repair.demos.make import Demo
from repair.demos.traces import Trace
from repair.tasks import Bug, Task
from repair.text.episodes import Episode, encode_demos, encode_traces, pack, plan_rows
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


def episode_of(length, seed=0):
    """Tokens of two turns between the environment's, each with its own log-prob."""
    rng = np.random.default_rng((seed, length))
    episode = Episode()
    third = length // 3
    episode.append(rng.integers(1, 99, length - 2 * third))
    for turn in range(2):
        ids = rng.integers(1, 99, third)
        episode.append(ids[: third // 2], turn, -rng.random(third // 2))
        episode.append(ids[third // 2 :])
    return episode


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


def test_rows_are_over_95_percent_full():
    lengths = np.random.default_rng(0).integers(150, 451, 3000).tolist()
    rows = plan_rows(lengths, 1024)
    assert sum(lengths) / (1024 * len(rows)) > 0.95
    assert rows == plan_rows(lengths, 1024)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 20), max_size=40), st.integers(20, 30))
def test_every_episode_lies_whole_in_one_row(lengths, row_length):
    rows = plan_rows(lengths, row_length)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    sums = sorted(sum(lengths[i] for i in row) for row in rows)
    assert all(0 < total <= row_length for total in sums)
    # No two rows would fit in one.
    assert len(sums) < 2 or sums[0] + sums[1] > row_length


def test_an_episode_longer_than_a_row_is_refused():
    with pytest.raises(ValueError, match="episode 1 has 9 tokens, a row 8"):
        plan_rows([3, 9], 8)


def test_pack_lays_out_by_hand():
    first, second = Episode(), Episode()
    first.append([5, 6])
    first.append([7], 0, [-1.0])
    first.append([8])
    first.append([9], 1, [-2.0])
    second.append([3])
    second.append([4], 0, [-3.0])
    batch = pack(
        [first, second],
        [[1, 0], [], [1]],
        8,
        advantages=[np.array([0.5, -0.25]), np.array([2.0])],
    )
    batch.check()
    empty = [0] * 8
    rows = {
        "tokens": [3, 4, 5, 6, 7, 8, 9, 0],
        "segments": [1, 1, 2, 2, 2, 2, 2, 0],
        "positions": [0, 1, 0, 1, 2, 3, 4, 0],
        "mask": [0, 1, 0, 0, 1, 0, 1, 0],
        "log_probs": [0, -3, 0, 0, -1, 0, -2, 0],
        "advantages": [0, 2, 0, 0, 0.5, 0, -0.25, 0],
    }
    for name, row in rows.items():
        alone = [*row[:2], *[0] * 6]
        np.testing.assert_array_equal(getattr(batch, name), [row, empty, alone], name)
    assert batch.real_share == 9 / 24


def test_weights_take_the_place_of_the_mask():
    episode = episode_of(9)
    weights = np.linspace(0, 1, 9, dtype=np.float32)
    batch = pack([episode], [[0]], 10, weights=[weights])
    np.testing.assert_array_equal(batch.mask[0], [*weights, 0])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(3, 20), min_size=1, max_size=20))
def test_packed_episodes_come_back_whole(lengths):
    episodes = [episode_of(length, i) for i, length in enumerate(lengths)]
    advantages = [np.array([i + 0.5, -i - 0.25]) for i in range(len(lengths))]
    rows = plan_rows(lengths, 24)
    batch = pack(episodes, rows, 24, advantages=advantages)
    batch.check()
    for r, members in enumerate(rows):
        for segment, index in enumerate(members, 1):
            here, episode = batch.segments[r] == segment, episodes[index]
            assert batch.tokens[r, here].tolist() == episode.ids
            assert batch.positions[r, here].tolist() == list(range(len(episode)))
            assert batch.mask[r, here].tolist() == episode.mask
            np.testing.assert_allclose(batch.log_probs[r, here], episode.log_probs)
            expected = [0 if e < 0 else advantages[index][e] for e in episode.turns]
            np.testing.assert_allclose(batch.advantages[r, here], expected)
    assert batch.real_share == pytest.approx(sum(lengths) / batch.tokens.size)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("positions", lambda x: x[:, :-1], "positions is"),
        ("segments", lambda x: x.astype(np.int64), "segments has type int64"),
        ("log_probs", lambda x: x.astype(np.float64), "log_probs has type float64"),
        ("mask", np.ones_like, "mask: padding carries loss"),
        ("mask", lambda x: np.where(np.arange(8) == 0, 1, x), "mask: a first token"),
    ],
)
def test_check_names_the_bad_field(name, change, message):
    batch = pack([episode_of(7)], [[0]], 8)
    batch.check()
    bad = change(getattr(batch, name))
    if name == "mask":
        bad = bad.astype(np.float32)
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(batch, **{name: bad}).check()


def test_a_trace_is_one_answer_and_only_that_is_learnt():
    tokenizer = train_tokenizer(["What is 2 + 2? four"], 300, ("<pad>", "<end>"))
    tokenizer = Tokenizer(tokenizer, "short", mode="cot", end_token="<end>")
    (episode,) = encode_traces(tokenizer, [Trace("What is 2 + 2?", "Two\ntwice.\n4")])
    answer = [i for i, m in zip(episode.ids, episode.mask, strict=True) if m]
    assert tokenizer.decode(answer) == "Two\ntwice.\n4<end>"
    asked = episode.ids[: -len(answer)]
    assert tokenizer.decode(asked) == "What is 2 + 2?\n"
    assert set(episode.turns[len(asked) :]) == {0}
