"""The sampler against the slow obvious way: a fresh forward over the whole row."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from repair.rollout.sampler import Sampler, SamplerShapes
from repair.rollout.sampling import Sampling
from tests.rollout.nucleus import nucleus

STOPS = (3, 7, 20, 33)


def stop_mask(size=51):
    return np.isin(np.arange(size), STOPS)


def make_sampler(model, **fields):
    settings = dict(
        max_new=6,
        max_length=48,
        row_buckets=(3, 8),
        block=8,
        length_buckets=(24,),
    )
    return Sampler(model, stop_mask(), SamplerShapes(**settings | fields))


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


@pytest.fixture(scope="module")
def default(make):
    """(model, params, sampler), shared: each test that reuses it compiles less."""
    model, params = make()
    return model, params, make_sampler(model)


class Host:
    """Keeps each row's ids and feeds the sampler as a rollout does."""

    def __init__(self, sampler, params, prompts):
        self.sampler, self.params = sampler, sampler.place(params)
        self.ids = [list(p) for p in prompts]
        self.state = sampler.start(len(prompts))
        self.feed()

    def feed(self):
        processed = np.asarray(self.state.length_B)
        new = [ids[processed[row] :] for row, ids in enumerate(self.ids)]
        self.state = self.sampler.extend(self.params, self.state, new)

    def turn(self, seed=0, temperature=0.0, done=None, **settings):
        """Decode; returns per row (start of the command, its log-probs)."""
        state = self.sampler.decode(
            self.params,
            self.state,
            keys(len(self.ids), seed),
            Sampling(temperature, **settings),
            done=done,
        )
        self.state, self.sampled = self.sampler.collect(state)
        tokens, log_probs, counts, _ = self.sampled
        starts = [len(ids) for ids in self.ids]
        for row, ids in enumerate(self.ids):
            ids.extend(tokens[row, : counts[row]].tolist())
        return [
            (start, log_probs[row, : counts[row]]) for row, start in enumerate(starts)
        ]

    def select(self, rows):
        self.state = self.sampler.select(self.state, rows)
        self.ids = [list(self.ids[row]) for row in rows]


@functools.partial(jax.jit, static_argnums=0)
def log_probs_of(model, params, ids_BT):
    return jax.nn.log_softmax(model.forward(params, ids_BT)[0])


def fresh_log_probs(model, params, ids):
    """[t, v] log-prob of v after ids[:t + 1], without a cache."""
    padded = np.zeros((1, 48), np.int32)
    padded[0, : len(ids)] = ids
    return np.asarray(log_probs_of(model, params, padded))[0, : len(ids)]


def check_turn(model, params, host, commands, temperature=0.0):
    for ids, (start, log_probs) in zip(host.ids, commands, strict=True):
        command = ids[start:]
        assert len(command) == len(log_probs)
        reference = fresh_log_probs(model, params, ids)[start - 1 : len(ids) - 1]
        if temperature == 0.0:
            assert command == reference.argmax(axis=-1).tolist()
        else:
            reference = jax.nn.log_softmax(reference / temperature)
        chosen = np.asarray(reference)[np.arange(len(command)), command]
        np.testing.assert_allclose(log_probs, chosen, atol=1e-4)
        assert not set(command[:-1]) & set(STOPS)
        assert command[-1] in STOPS or len(command) == 6 or len(ids) == 48


@pytest.mark.slow
@pytest.mark.parametrize("fields", [{}, {"scan_layers": True, "lora_rank": 3}])
def test_turns_equal_a_fresh_forward(default, make, fields):
    model, params, sampler = default
    if fields:
        model, params = make(**fields)
        # One bucket each: the default sampler shows that rows change theirs.
        sampler = make_sampler(model, row_buckets=(8,), block=8)
    rng = np.random.default_rng(1)
    prompts = [rng.integers(0, 51, n).tolist() for n in (1, 13, 6)]
    host = Host(sampler, params, prompts)
    for turn, temperature in enumerate((0.0, 0.7, 0.0, 0.7)):
        if turn == 1:
            host.select([1, 1, 0, 2, 2])
        if turn == 3:
            host.select([4, 0])
        commands = host.turn(seed=turn, temperature=temperature)
        check_turn(model, params, host, commands, temperature)
        for row, ids in enumerate(host.ids):
            ids.extend(rng.integers(0, 51, row).tolist())
        host.feed()
    assert host.state.slots == 48, "the cache should have grown on the way"


@pytest.mark.slow
def test_a_row_does_not_depend_on_its_slot_or_batch(default):
    model, params, sampler = default
    prompts = [[5, 9, 2], [40] * 9, [1], [2, 8], [30, 31], [6] * 12, [9], [11]]

    def run(order):
        host = Host(sampler, params, [prompts[i] for i in order])
        row_keys = keys(8)[np.array(order)]
        _, sampled = sampler.collect(
            sampler.decode(params, host.state, row_keys, Sampling())
        )
        return dict(zip(order, sampled.tokens, strict=False))

    wide, narrow = run(list(range(8))), run([6, 1, 3])
    for row, tokens in narrow.items():
        np.testing.assert_array_equal(tokens, wide[row])
    assert len({tuple(tokens) for tokens in wide.values()}) == 8


def test_rows_that_are_done_stay_as_they_are(default):
    model, params, sampler = default
    host = Host(sampler, params, [[5, 9, 2], [4, 4], [8]])
    before = jax.device_get((host.state.length_B, host.state.logits_BV))
    commands = host.turn(done=[True, False, True])
    assert [len(c[1]) > 0 for c in commands] == [False, True, False]
    host.ids[1].append(1)
    host.feed()
    after = jax.device_get((host.state.length_B, host.state.logits_BV))
    for row in (0, 2):
        assert before[0][row] == after[0][row]
        np.testing.assert_array_equal(before[1][row], after[1][row])
    check_turn(model, params, host, host.turn())


def test_only_processed_tokens_are_in_the_cache(default):
    """No trace of padding, of rows that are done or have ended, of the last token."""
    _, params, sampler = default
    host = Host(sampler, params, [[5, 9, 2], [40] * 9, []])
    for _ in range(2):
        for layer in host.state.cache:
            filled_BS = np.asarray(layer["v"]).any(axis=(1, 3))
            assert filled_BS.sum(axis=1).tolist() == host.state.length_B.tolist()
        host.turn(seed=3, temperature=1.0, done=[False, False, True])


def test_each_token_has_a_number_of_its_own(default):
    """A model without preferences inverts to the token floor(uniform * V)."""
    model, params, sampler = default
    flat = jax.tree.map(jnp.zeros_like, params)
    host = Host(sampler, flat, [[5, 9, 2], [4], [8, 8]])
    commands = host.turn(seed=4, temperature=1.0)
    assert max(len(log_probs) for _, log_probs in commands) > 3
    for key, ids, (start, log_probs) in zip(
        keys(3, 4), host.ids, commands, strict=True
    ):
        uniforms = [
            jax.random.uniform(jax.random.fold_in(key, i))
            for i in range(len(log_probs))
        ]
        assert ids[start:] == [int(u * model.config.vocab_size) for u in uniforms]
        np.testing.assert_allclose(log_probs, -np.log(51), atol=1e-5)


def test_a_row_is_reset_by_its_length(default):
    model, params, sampler = default
    host = Host(sampler, params, [[5, 9, 2, 33, 12], [4, 4]])
    host.state = sampler.clear(host.state, [0])
    host.ids[0] = [17, 18]
    host.feed()
    check_turn(model, params, host, host.turn())


def test_decoding_stops_at_max_length(make):
    model, params = make()
    shapes = SamplerShapes(max_new=6, max_length=20, row_buckets=(3,), block=20)
    sampler = Sampler(model, np.zeros(51, bool), shapes)
    host = Host(sampler, params, [[1] * 17, [2] * 20, [3] * 4])
    assert [len(c[1]) for c in host.turn()] == [3, 0, 6]
    with pytest.raises(ValueError, match="row 0 would hold 21 tokens"):
        host.ids[0].append(1)
        host.feed()


@pytest.mark.slow
def test_nothing_compiles_after_warm_up(default, caplog):
    _, params, sampler = default
    rng = np.random.default_rng(0)

    def episodes(lengths, growth):
        host = Host(sampler, params, [[1] * n for n in lengths])
        host.select([0, 0, 1, 1, 2, 2])
        for turn in range(3):
            host.turn(seed=turn, temperature=1.0)
            host.ids[int(rng.integers(len(host.ids)))].extend([2] * growth)
            host.feed()
            if turn == 1:
                host.select([0, 1, 2])

    episodes((3, 12, 5), 8)
    compiled = sampler.compiled()
    with jax.log_compiles():
        episodes((10, 3, 12), 7)
        episodes((11, 12, 2), 6)
        assert not [r for r in caplog.records if "ompil" in r.getMessage()]
        jax.jit(lambda x: x * 41)(1.0)
    assert [r for r in caplog.records if "ompil" in r.getMessage()], "deaf test"
    assert sampler.compiled() == compiled


def test_inserted_rows_go_on_as_where_they_came_from(default):
    """Prompts processed elsewhere, into rows that held others, short and long."""
    model, params, sampler = default
    host = Host(sampler, params, [[7] * 20, [4, 4], [8]])
    host.turn()
    host.feed()
    source = Host(sampler, params, [[5, 9, 2], [40] * 9])
    state = sampler.clear(host.state, [0, 2])
    host.state = sampler.insert(state, source.state, [(1, 0), (0, 2)])
    host.ids[0], host.ids[2] = list(source.ids[1]), list(source.ids[0])
    assert host.state.length_B.tolist() == [9, len(host.ids[1]), 3]
    for turn in range(2):
        check_turn(model, params, host, host.turn(seed=turn))
        host.feed()
    # The source can be used again: other samples of the same prompt.
    check_turn(model, params, source, source.turn())


@pytest.mark.parametrize(
    "temperature", [pytest.param(0.0, marks=pytest.mark.slow), 1.0]
)
def test_commands_left_unfinished_go_on_as_if_nothing_had_been(default, temperature):
    model, params, sampler = default
    prompts = [[5, 9, 2], [4, 4], [8], [30, 31], [6] * 12, [9]]
    whole = Host(sampler, params, prompts)
    whole.turn(seed=2, temperature=temperature)
    host = Host(sampler, params, prompts)
    calls, commands = 0, {}
    state = host.state
    while len(commands) < len(prompts):
        state = sampler.decode(
            params,
            state,
            keys(len(prompts), 2),
            Sampling(temperature),
            done=[row in commands for row in range(len(prompts))],
            leave=4 - calls,
        )
        state, sampled = sampler.collect(state)
        for row in np.flatnonzero(sampled.ended[: len(prompts)]):
            if row not in commands:
                commands[row] = sampled.tokens[row, : sampled.counts[row]].tolist()
                assert state.length_B[row] == len(prompts[row] + commands[row]) - 1
        going = np.flatnonzero(state.going_B)
        assert set(going) == set(range(len(prompts))) - commands.keys()
        if calls == 0:
            with pytest.raises(ValueError, match="in the midst of its command"):
                sampler.extend(params, state, [[1]] * len(prompts))
            # To another place on the way, as when a batch shrinks.
            state = sampler.select(state, range(len(prompts)))
        calls += 1
    assert calls > 1
    for row, prompt in enumerate(prompts):
        assert prompt + commands[row] == whole.ids[row]


def test_a_decode_under_way_is_not_touched(default):
    _, params, sampler = default
    host = Host(sampler, params, [[5, 9, 2]])
    state = sampler.decode(params, host.state, keys(1), Sampling())
    for touch in (
        lambda: sampler.extend(params, state, [[1]]),
        lambda: sampler.decode(params, state, keys(1), Sampling()),
        lambda: sampler.select(state, [0]),
    ):
        with pytest.raises(ValueError, match="collect it first"):
            touch()


@pytest.mark.parametrize(
    ("top_k", "top_p"),
    [
        (9, 0.4),
        pytest.param(5, 1.0, marks=pytest.mark.slow),
        pytest.param(0, 0.7, marks=pytest.mark.slow),
        pytest.param(51, 1.0, marks=pytest.mark.slow),
    ],
)
def test_only_the_likeliest_are_drawn_and_renormalised(default, top_k, top_p):
    model, params, sampler = default
    host = Host(sampler, params, [[5, 9, 2], [4], [8, 8]])
    commands = host.turn(seed=4, temperature=0.7, top_k=top_k, top_p=top_p)
    seen = 0
    for row, (start, log_probs) in enumerate(commands):
        ids = host.ids[row]
        logits = fresh_log_probs(model, params, ids)[start - 1 : len(ids) - 1] / 0.7
        kept = nucleus(logits, top_k, top_p)
        assert kept[np.arange(len(kept)), ids[start:]].all()
        chosen = np.where(kept, logits, -np.inf)
        chosen = np.asarray(jax.nn.log_softmax(chosen))
        expected = chosen[np.arange(len(kept)), ids[start:]]
        np.testing.assert_allclose(log_probs, expected, atol=1e-4)
        seen += len(kept)
    assert seen > 5


def test_a_cache_of_another_type_is_kept_and_close(default):
    model, params, sampler = default
    half = make_sampler(model, cache_dtype="bfloat16")
    prompts = [[5, 9, 2], [40] * 9, [1]]
    exact, rounded = Host(sampler, params, prompts), Host(half, params, prompts)
    assert all(x.dtype == "bfloat16" for x in jax.tree.leaves(rounded.state.cache))
    gap = np.abs(np.asarray(exact.state.logits_BV - rounded.state.logits_BV))
    assert 0 < gap.max() < 0.2


def test_a_wrong_stop_mask_is_named(make):
    model, _ = make()
    with pytest.raises(ValueError, match=r"\(50,\), not \(51,\)"):
        Sampler(model, np.zeros(50, bool), SamplerShapes(1, 8, 8))
