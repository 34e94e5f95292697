"""Rollouts: what is kept is what was sampled, seen and rewarded."""

import dataclasses

import jax
import numpy as np
import pytest

from repair.env.demos import Demo
from repair.env.environment import Environment, reset_all, step_all
from repair.learn import rollout
from repair.learn.losses import token_log_probs
from repair.model.sampler import Sampler
from repair.text.episodes import encode_demos

FIX = "### REPL 2 >>>    return x + 1"


@dataclasses.dataclass
class ScriptState:
    """For each row the ids that were fed, and the command that comes next."""

    fed: list[list[int]]
    turns: list[int]

    @property
    def rows(self):
        return len(self.fed)


class ScriptedSampler:
    """Says given ids whatever it reads, row by row in the order of the prefill.

    Like the real one it does not feed itself the last token of a command.
    """

    row_buckets = (4,)

    def __init__(self, says, max_length=1000):
        self.says, self.max_length = says, max_length
        self.max_new = max(len(ids) for ids in says)
        self.states = []

    def start(self, rows):
        return ScriptState([[] for _ in range(rows)], [0] * rows)

    def extend(self, params, state, tokens):
        fed = [old + list(new) for old, new in zip(state.fed, tokens, strict=True)]
        self.states.append(fed)
        return ScriptState(fed, state.turns)

    def select(self, state, rows):
        return ScriptState(
            [list(state.fed[r]) for r in rows], [state.turns[r] for r in rows]
        )

    def decode(self, params, state, keys_B, *, temperature, done):
        del params, keys_B, temperature, done
        shape = (state.rows, self.max_new)
        tokens, log_probs = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
        counts = np.zeros(state.rows, np.int32)
        fed = []
        for row in range(state.rows):
            ids = self.says[state.turns[row]]
            tokens[row, : len(ids)] = ids
            log_probs[row, : len(ids)] = -np.arange(1, len(ids) + 1)
            counts[row] = len(ids)
            fed.append(state.fed[row] + ids[:-1])
        turns = [turn + 1 for turn in state.turns]
        return ScriptState(fed, turns), tokens, log_probs, counts


def play(sampler, codec, sandbox, bugs, samples=1, params=None, **settings):
    settings = dict(seed=0, step=0, temperature=1.0) | settings
    turns = settings.pop("max_turns", 3)
    return rollout.play(
        sampler,
        params,
        codec,
        lambda: Environment(sandbox, max_turns=turns),
        bugs,
        samples,
        **settings,
    )


def scripted(codec, sandbox, bug, commands, max_turns=10, **settings):
    says = [codec.encode(c) if isinstance(c, str) else c for c in commands]
    sampler = ScriptedSampler(says, **settings)
    (episode,) = play(sampler, codec, sandbox, [bug], max_turns=max_turns)
    return sampler, episode


def make_sampler(model, codec, rows=(8,), max_length=160):
    return Sampler(
        model,
        codec.stop_V,
        max_new=6,
        max_length=max_length,
        row_buckets=rows,
        token_buckets=(64,),
        length_buckets=(),
    )


@pytest.fixture(scope="module")
def sampler(model, codec):
    return make_sampler(model, codec)


def test_a_solved_episode_has_the_ids_of_its_demonstration(codec, sandbox, bugs):
    environment = Environment(sandbox)
    states = [reset_all([environment], bugs[:1])[0].state_text]
    for command in ("### DELL 9", FIX):
        states.append(step_all([environment], [command])[0].state_text)
    commands = ("### DELL 9", FIX, "### EXIT")
    (expected,) = encode_demos(codec, [Demo(bugs[0], tuple(states), commands)])
    sampler, played = scripted(codec, sandbox, bugs[0], [c + "\n" for c in commands])
    assert played.status == "solved" and played.passed
    assert played.rewards.tolist() == [-0.5, 1.0, 0.0]
    assert played.commands == list(commands)
    assert played.code == "def f(x):\n    return x + 1"
    assert played.episode.ids == expected.ids
    assert played.episode.mask == expected.mask
    assert played.episode.turns == expected.turns
    # The sampler has read the episode without gap or repeat.
    for (fed,) in sampler.states:
        assert fed == played.episode.ids[: len(fed)]
    exit_ids = codec.encode("### EXIT\n")
    assert sampler.states[-1][0] + exit_ids == expected.ids


def test_sampled_tokens_stay_as_sampled(codec, sandbox, bugs):
    """A command spelt letter by letter is read as text, never encoded anew."""
    letters = [i for letter in FIX + "\n" for i in codec.encode(letter)]
    assert letters != codec.encode(FIX + "\n")
    _, played = scripted(codec, sandbox, bugs[0], [letters, "### EXIT\n"])
    ids, turns = np.array(played.episode.ids), np.array(played.episode.turns)
    assert ids[turns == 0].tolist() == letters
    log_probs = np.array(played.episode.log_probs)
    assert log_probs[turns == 0].tolist() == [-n for n in range(1, len(letters) + 1)]
    assert (log_probs[turns < 0] == 0).all()
    assert played.commands[0] == FIX and played.status == "solved"


def test_the_host_ends_a_command_that_was_cut(codec, sandbox, bugs):
    cut = codec.encode("### DELL 9")
    sampler, played = scripted(codec, sandbox, bugs[0], [cut, "### EXIT\n"])
    place = played.episode.turns.index(0) + len(cut)
    assert played.episode.ids[place] == codec.newline_id
    assert played.episode.mask[place] == 0
    assert played.status == "exited_unsolved"
    for (fed,) in sampler.states:
        assert fed == played.episode.ids[: len(fed)]


def test_the_last_command_at_the_cap_is_carried_out_and_rewarded(codec, sandbox, bugs):
    commands = ["### DELL 9\n", FIX + "\n"]
    _, played = scripted(codec, sandbox, bugs[0], commands, max_turns=2)
    assert played.status == "max_turns" and played.passed
    assert played.rewards.tolist() == [-0.5, 1.0 - 0.5]
    assert "return x + 1" in played.code
    # The answer to the last command is nobody's context.
    assert played.episode.turns[-1] == 1


def test_a_full_context_ends_the_episode_and_keeps_its_last_command(
    codec, sandbox, bugs
):
    commands = [FIX + "\n", "### DELL 9\n"]
    prompt = codec.prompt_ids(bugs[0].task)
    state = reset_all([Environment(sandbox)], bugs[:1])[0].state_text
    start = len(prompt) + len(codec.encode(state))
    longest = len(codec.encode(commands[0]))
    _, played = scripted(
        codec, sandbox, bugs[0], commands, max_length=start + longest + 1
    )
    assert played.status == "truncated" and len(played.commands) == 1
    assert played.rewards.tolist() == [1.0 - 0.5]
    assert "return x + 1" in played.code
    _, never = scripted(
        codec, sandbox, bugs[0], commands, max_length=start + longest - 1
    )
    assert never.status == "truncated" and never.commands == []
    assert never.rewards.tolist() == [] and never.code == bugs[0].faulty_code


@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_log_probs_are_those_of_a_fresh_pass(
    sampler, model, params, codec, sandbox, bugs, temperature
):
    played = play(sampler, codec, sandbox, bugs[:2], 3, params, temperature=temperature)
    assert [r.bug.bug_id for r in played] == ["1/1"] * 3 + ["1/2"] * 3
    assert [r.sample for r in played] == [0, 1, 2] * 2
    length = sampler.max_length
    tokens = np.zeros((len(played), length), np.int32)
    for row, r in enumerate(played):
        tokens[row, : len(r.episode)] = r.episode.ids
    fresh = jax.jit(lambda t: token_log_probs(model.forward(params, t)[0], t))(tokens)
    for row, r in enumerate(played):
        assert 1 <= len(r.commands) == max(r.episode.turns) + 1
        mask = np.array(r.episode.mask) == 1
        assert mask.sum() >= len(r.commands)
        np.testing.assert_allclose(
            np.array(r.episode.log_probs)[mask],
            np.asarray(fresh)[row, : len(mask)][mask],
            atol=1e-4,
        )
    if temperature:
        assert len({tuple(r.episode.ids) for r in played}) == len(played)
    else:
        assert len({tuple(r.episode.ids) for r in played}) == 2


def test_same_seed_and_step_give_the_same_whatever_the_buckets(
    sampler, model, params, codec, sandbox, bugs
):
    def ids(sampler, **settings):
        played = play(sampler, codec, sandbox, bugs[:3], 2, params, **settings)
        return [r.episode.ids for r in played]

    first = ids(sampler)
    assert ids(make_sampler(model, codec, rows=(2,))) == first
    assert ids(sampler, step=1) != first
    assert ids(sampler, seed=1) != first


def test_a_second_play_compiles_nothing(model, params, codec, sandbox, bugs):
    sampler = make_sampler(model, codec, rows=(4,))
    play(sampler, codec, sandbox, bugs[:2], 2, params)
    warm = sampler.compiled()
    assert warm > 0
    # Other bugs, fewer of them, another step and temperature: nothing is static.
    for step, some in enumerate((bugs[2:4], bugs[4:6], bugs[3:4])):
        play(sampler, codec, sandbox, some, 2, params, step=step, temperature=0.7)
    assert sampler.compiled() == warm


def test_clock_and_progress_are_told(sampler, params, codec, sandbox, bugs):
    clock, told = rollout.Clock(), []
    play(
        sampler,
        codec,
        sandbox,
        bugs[:5],
        2,
        params,
        clock=clock,
        progress=lambda *counts: told.append(counts),
    )
    assert told == [(8, 10), (10, 10)]  # eight rows hold four bugs of two samples
    assert clock.sampling > 0 and clock.sandbox > 0
