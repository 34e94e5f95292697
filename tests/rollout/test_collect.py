"""Rollouts: what is kept is what was sampled, seen and rewarded."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from repair.demos.make import Demo
from repair.env.batch import reset_all, step_all
from repair.env.environment import Environment
from repair.env.tools import LineEditor
from repair.model.api import Model
from repair.model.llama import LlamaConfig
from repair.rollout.clock import Clock
from repair.rollout.collect import Observer, RolloutSeed, collect_rollouts
from repair.rollout.decode import Sampled
from repair.rollout.engine import RolloutEngine, SamplerConfig
from repair.rollout.sampler import Sampler, SamplerShapes
from repair.rollout.sampling import Sampling
from repair.sandbox import Limits, Sandbox, SandboxError
from repair.text.episodes import encode_demos
from repair.training import rlvr
from repair.training.batches import make_batches
from repair.training.losses import token_stats
from tests.dummies import check_batch

SHAPE = LlamaConfig(width=16, mlp_width=32, layers=2, heads=2, kv_heads=1, head_size=8)
NOTHING = {"params": {}}  # of a sampler that only recites
FIX = "### REPL 2 >>>    return x + 1"


def token_log_probs(logits, tokens):
    return token_stats(lambda x: x, logits, tokens).log_probs


@dataclasses.dataclass
class ScriptState:
    """For each row the ids that were fed, and the command that comes next."""

    fed: list[list[int]]
    turns: list[int]
    sampled: Sampled | None = None

    @property
    def rows(self):
        return len(self.fed)


class ScriptedSampler:
    """Says given ids whatever it reads.

    Like the real one it does not feed itself the last token of a command.
    """

    def __init__(self, says, max_length=1000):
        self.says, self.max_length = says, max_length
        self.max_new = max(len(ids) for ids in says)
        self.states = []

    def place(self, params):
        return params

    def bucket(self, rows):
        return 4

    def start(self, rows):
        return ScriptState([[] for _ in range(rows)], [0] * rows)

    def clear(self, state, rows):
        for row in rows:
            state.fed[row], state.turns[row] = [], 0
        return state

    def insert(self, state, source, pairs):
        for from_row, to_row in pairs:
            state.fed[to_row] = list(source.fed[from_row])
        return state

    def extend(self, params, state, tokens):
        tokens = list(tokens) + [[]] * (state.rows - len(tokens))
        fed = [old + list(new) for old, new in zip(state.fed, tokens, strict=True)]
        self.states.append(list(fed))
        return ScriptState(fed, list(state.turns))

    def decode(self, params, state, keys_B, sampling, *, done, leave):
        shape = (state.rows, self.max_new)
        tokens, log_probs = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
        counts = np.zeros(state.rows, np.int32)
        for row in range(state.rows):
            if not done[row]:
                ids = self.says[state.turns[row]]
                tokens[row, : len(ids)] = ids
                log_probs[row, : len(ids)] = -np.arange(1, len(ids) + 1)
                counts[row] = len(ids)
                state.fed[row] = state.fed[row] + ids[:-1]
                state.turns[row] += 1
        ended = np.ones(state.rows, bool)
        sampled = Sampled(tokens, log_probs, counts, ended)
        return dataclasses.replace(state, sampled=sampled)

    def collect(self, state):
        return dataclasses.replace(state, sampled=None), state.sampled


def make_engine(sampler, tokenizer, sandbox, max_turns=3, **sizes):
    return RolloutEngine(
        (sampler,),
        tokenizer,
        lambda: Environment(sandbox, max_turns=max_turns),
        SamplerConfig(**{"slots": 8, "cohorts": 2, "prefill": 4} | sizes),
    )


def play(sampler, tokenizer, sandbox, bugs, samples=1, params=NOTHING, **settings):
    seed = RolloutSeed(settings.pop("seed", 0), settings.pop("step", 0))
    sampling = Sampling(settings.pop("temperature", 1.0))
    names = ("clock", "progress", "watch")
    observer = Observer(**{n: settings.pop(n) for n in names if n in settings})
    engine = make_engine(sampler, tokenizer, sandbox, **settings)
    return collect_rollouts(engine, params, bugs, samples, sampling, seed, observer)


def scripted(tokenizer, sandbox, bug, commands, max_turns=10, **settings):
    says = [tokenizer.encode(c) if isinstance(c, str) else c for c in commands]
    sampler = ScriptedSampler(says, **settings)
    (episode,) = play(sampler, tokenizer, sandbox, [bug], max_turns=max_turns)
    return sampler, episode


def make_sampler(model, tokenizer, rows=(4,), max_length=160, **settings):
    settings = dict(max_new=6, block=64, length_buckets=()) | settings
    shapes = SamplerShapes(max_length=max_length, row_buckets=rows, **settings)
    return Sampler(model, tokenizer.stop_V, shapes)


@pytest.fixture(scope="module")
def sampler(model, tokenizer):
    return make_sampler(model, tokenizer)


def test_a_solved_episode_has_the_ids_of_its_demonstration(tokenizer, sandbox, bugs):
    environment = Environment(sandbox)
    states = [reset_all([environment], bugs[:1])[0].state_text]
    for command in ("### DELL 9", FIX):
        states.append(step_all([environment], [command])[0].state_text)
    commands = ("### DELL 9", FIX, "### EXIT")
    (expected,) = encode_demos(tokenizer, [Demo(bugs[0], tuple(states), commands)])
    sampler, played = scripted(
        tokenizer, sandbox, bugs[0], [c + "\n" for c in commands]
    )
    assert played.status == "solved" and played.passed
    assert played.rewards.tolist() == [-0.5, 1.0, 0.0]
    assert played.commands == list(commands)
    assert played.code == "def f(x):\n    return x + 1"
    assert played.episode.ids == expected.ids.tolist()
    assert played.episode.mask == expected.mask.tolist()
    assert played.episode.turns == expected.turns.tolist()
    # The sampler has read the episode without gap or repeat.
    for fed, *_ in sampler.states:
        assert fed == played.episode.ids[: len(fed)]
    exit_ids = tokenizer.encode("### EXIT\n")
    assert sampler.states[-1][0] + exit_ids == expected.ids.tolist()


def test_sampled_tokens_stay_as_sampled(tokenizer, sandbox, bugs):
    """A command spelt letter by letter is read as text, never encoded anew."""
    letters = [i for letter in FIX + "\n" for i in tokenizer.encode(letter)]
    assert letters != tokenizer.encode(FIX + "\n")
    _, played = scripted(tokenizer, sandbox, bugs[0], [letters, "### EXIT\n"])
    ids, turns = np.array(played.episode.ids), np.array(played.episode.turns)
    assert ids[turns == 0].tolist() == letters
    log_probs = np.array(played.episode.log_probs)
    assert log_probs[turns == 0].tolist() == [-n for n in range(1, len(letters) + 1)]
    assert (log_probs[turns < 0] == 0).all()
    assert played.commands[0] == FIX and played.status == "solved"


def test_the_host_ends_a_command_that_was_cut(tokenizer, sandbox, bugs):
    cut = tokenizer.encode("### DELL 9")
    sampler, played = scripted(tokenizer, sandbox, bugs[0], [cut, "### EXIT\n"])
    place = played.episode.turns.index(0) + len(cut)
    assert played.episode.ids[place] == tokenizer.newline_id
    assert played.episode.mask[place] == 0
    assert played.status == "exited_unsolved"
    for fed, *_ in sampler.states:
        assert fed == played.episode.ids[: len(fed)]


def test_the_last_command_at_the_cap_is_carried_out_and_rewarded(
    tokenizer, sandbox, bugs
):
    commands = ["### DELL 9\n", FIX + "\n"]
    _, played = scripted(tokenizer, sandbox, bugs[0], commands, max_turns=2)
    assert played.status == "max_turns" and played.passed
    assert played.rewards.tolist() == [-0.5, 1.0 - 0.5]
    assert "return x + 1" in played.code
    # The answer to the last command is nobody's context.
    assert played.episode.turns[-1] == 1


def test_a_full_context_ends_the_episode_and_keeps_its_last_command(
    tokenizer, sandbox, bugs
):
    commands = [FIX + "\n", "### DELL 9\n"]
    prompt = tokenizer.prompt_ids(bugs[0].task)
    state = reset_all([Environment(sandbox)], bugs[:1])[0].state_text
    start = len(prompt) + len(tokenizer.encode(state))
    longest = len(tokenizer.encode(commands[0]))
    _, played = scripted(
        tokenizer, sandbox, bugs[0], commands, max_length=start + longest + 1
    )
    assert played.status == "truncated" and len(played.commands) == 1
    assert played.rewards.tolist() == [1.0 - 0.5]
    assert "return x + 1" in played.code
    _, never = scripted(
        tokenizer, sandbox, bugs[0], commands, max_length=start + longest - 1
    )
    assert never.status == "truncated" and never.commands == []
    assert never.rewards.tolist() == [] and never.code == bugs[0].faulty_code


@pytest.mark.parametrize("spare", [0, 1])
def test_no_episode_is_longer_than_its_context(tokenizer, sandbox, bugs, spare):
    """Nor by the end of a command that was cut where the context is full."""
    cut = tokenizer.encode("### DELL 9")
    state = reset_all([Environment(sandbox)], bugs[:1])[0].state_text
    start = len(tokenizer.prompt_ids(bugs[0].task)) + len(tokenizer.encode(state))
    full = start + len(cut) + spare
    _, played = scripted(tokenizer, sandbox, bugs[0], [cut], max_length=full)
    assert played.status == "truncated" and len(played.commands) == 1
    assert len(played.episode) == full
    assert played.episode.ids[start : start + len(cut)] == cut


@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_log_probs_are_those_of_a_fresh_pass(
    sampler, model, params, tokenizer, sandbox, bugs, temperature
):
    played = play(
        sampler, tokenizer, sandbox, bugs[:2], 3, params, temperature=temperature
    )
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


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_slots_and_company_change_no_trajectory(
    model, params, tokenizer, sandbox, bugs, temperature
):
    """In float32 the same tokens, and log-probs but for rounding."""

    def trajectories(slots, cohorts, stragglers=0.0, **settings):
        rows = (4, -(-slots // cohorts))
        sampler = make_sampler(model, tokenizer, rows=rows, length_buckets=(96,))
        sizes = dict(slots=slots, cohorts=cohorts, stragglers=stragglers)
        settings = dict(temperature=temperature, **settings)
        return play(sampler, tokenizer, sandbox, bugs, 12, params, **sizes, **settings)

    first = trajectories(4, 1)
    assert [(r.bug, r.sample) for r in first] == [
        (bug, sample) for bug in bugs for sample in range(12)
    ]
    assert len({len(r.commands) for r in first}) > 1, "episodes should differ in length"
    for sizes in ((16, 2, 0.5), (64, 3, 0.2)):
        for mine, theirs in zip(first, trajectories(*sizes), strict=True):
            assert mine.episode.ids == theirs.episode.ids
            assert mine.results == theirs.results and mine.code == theirs.code
            np.testing.assert_allclose(
                mine.episode.log_probs, theirs.episode.log_probs, atol=1e-5
            )
    if temperature:
        ids = [r.episode.ids for r in first]
        for other in ({"step": 1}, {"seed": 1}):
            again = trajectories(16, 2, **other)
            assert [r.episode.ids for r in again] != ids


def test_every_token_goes_through_the_model_once(
    sampler, params, tokenizer, sandbox, bugs
):
    """A bug's prompt once for all its samples; of a command all but what ends it."""
    clock = Clock()
    played = play(sampler, tokenizer, sandbox, bugs[:6], 3, params, clock=clock)
    expected = 0
    for r in played:
        start = r.episode.turns.index(0)
        last = len(r.commands) - 1
        # After the last sampled token nothing is asked any more.
        end = len(r.episode) - r.episode.turns[::-1].index(last)
        expected += end - 1 - start + (start if r.sample == 0 else 0)
    assert clock.processed_tokens == expected
    assert clock.turns == sum(len(r.commands) for r in played)
    assert clock.sampled_tokens == sum(sum(r.episode.mask) for r in played)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-4), ("bfloat16", 0.1)])
def test_the_trainer_sees_the_log_probs_of_sampling(
    tokenizer, sandbox, bugs, dtype, bound
):
    """Over whole episodes, in slots that were refilled."""
    model = Model(
        dataclasses.replace(SHAPE, vocab_size=tokenizer.vocab_size, dtype=dtype)
    )
    params = jax.jit(model.init_params)(jax.random.key(0))
    params = jax.tree.map(lambda x: x * 4 if x.ndim > 1 else x, params)
    sampler = make_sampler(
        model, tokenizer, max_length=300, max_new=24, length_buckets=(160,)
    )
    config = rlvr.RlvrConfig(rows=4, row_length=300, temperature=0.7)
    settings = dict(max_turns=4, step=1, temperature=config.temperature)
    played = play(sampler, tokenizer, sandbox, bugs, 3, params, **settings)
    steps = [step for r in played for step in r.steps]
    assert len(steps) > len(played)
    assert any(step.malformed for step in steps)
    # Returns as they come might have no signal.
    batches, _ = make_batches(
        [dataclasses.replace(r, steps=differing(r)) for r in played], config
    )
    count = sum(float(batch.mask.sum()) for batch in batches)
    assert count == sum(sum(r.episode.mask) for r in played)
    for batch in batches:
        check_batch(batch)
        found = rlvr.log_probs(model, params, batch, config.temperature)
        gap = np.abs(np.asarray(found) - batch.log_probs)[batch.mask > 0]
        assert gap.max(initial=0) < bound, gap.max()


def differing(r):
    """Its steps, with rewards that differ between the samples of a bug."""
    return [dataclasses.replace(step, reward=float(r.sample)) for step in r.steps]


class BadTool(LineEditor):
    """Breaks on any command in one program."""

    def apply(self, command_text):
        if "x - 4" in self.code:
            raise KeyError("broken tool")
        return super().apply(command_text)


class Delicate:
    """A sandbox that cannot run one program, however it is asked."""

    def __init__(self, sandbox, poison):
        self.sandbox, self.poison = sandbox, poison

    def allowances(self, references):
        return [1.0] * len(references)

    def map(self, jobs):
        if any(self.poison in job[0] for job in jobs):
            raise SandboxError("broken worker")
        return self.sandbox.map(jobs)


@pytest.mark.parametrize("kind", ["tool", "sandbox"])
def test_what_breaks_costs_its_own_episodes_only(tokenizer, sandbox, bugs, kind):
    commands = ["### DELL 9\n", "### REPL 2 >>>    return x + 1\n", "### EXIT\n"]
    sampler = ScriptedSampler([tokenizer.encode(c) for c in commands])
    box = sandbox if kind == "tool" else Delicate(sandbox, "x - 4")
    tool = BadTool if kind == "tool" else LineEditor
    engine = dataclasses.replace(
        make_engine(sampler, tokenizer, box, slots=4),
        make_environment=lambda: Environment(box, make_tool=tool),
    )
    played = collect_rollouts(engine, NOTHING, bugs[:6], 1, Sampling(), RolloutSeed(0))
    broken = [i for i, bug in enumerate(bugs[:6]) if "x - 4" in bug.faulty_code]
    assert len(broken) == 1
    for i, r in enumerate(played):
        assert r.status == ("fault" if i in broken else "solved")
    assert f"broken {'tool' if kind == 'tool' else 'worker'}" in (
        played[broken[0]].results[-1].fault
    )
    assert played[broken[0]].rewards.sum() == 0.0


def test_a_killed_worker_and_a_hanging_candidate_stop_nobody_else(tokenizer, bugs):
    """In a real sandbox, whose workers all die while the episodes are played."""
    hangs = dataclasses.replace(
        bugs[0], bug_id="1/hangs", faulty_code="def f(x):\n    return x\nwhile 1: pass"
    )
    commands = ["### DELL 9\n", FIX + "\n", "### EXIT\n"]
    sampler = ScriptedSampler([tokenizer.encode(c) for c in commands])
    everyone, killed = [*bugs[:3], hangs, *bugs[3:]], []

    def kill(ended, of):
        if not killed:
            for worker in box._workers:
                worker._process.kill()
                killed.append(worker._process)

    with Sandbox(workers=2, limits=Limits(cpu_seconds=0.3), cache=False) as box:
        settings = dict(max_turns=10, slots=4, progress=kill)
        played = play(sampler, tokenizer, box, everyone, 2, **settings)
    assert len(killed) == 2 and all(process.poll() is not None for process in killed)
    for r in played:
        hung = r.bug is hangs
        assert r.status == ("exited_unsolved" if hung else "solved"), r.steps
        assert r.rewards.tolist() == [-0.5, 0.0 if hung else 1.0, 0.0]
        if hung:
            assert all("time" in r.results[i].state_text for i in (0, 2))


def test_a_run_in_which_all_breaks_ends_with_the_reason(tokenizer, sandbox, bugs):
    sampler = ScriptedSampler([tokenizer.encode("### EXIT\n")])
    with pytest.raises(SandboxError, match="2 of 4 episodes broke.*broken worker"):
        play(sampler, tokenizer, Delicate(sandbox, "x"), bugs[:4])


def test_two_broken_bugs_in_front_do_not_end_a_run(tokenizer, sandbox, bugs):
    """Of 64 bugs the first two break, so that all that have ended are broken."""
    broken = "def f(x):\n    return poison"
    front = [
        dataclasses.replace(bugs[0], bug_id=f"bad/{n}", faulty_code=broken)
        for n in range(2)
    ]
    sound = [dataclasses.replace(bugs[n % 3], bug_id=f"good/{n}") for n in range(62)]
    commands = ["### REPL 2 >>>    return x + 1\n", "### EXIT\n"]
    sampler = ScriptedSampler([tokenizer.encode(c) for c in commands])
    box = Delicate(sandbox, "poison")
    played = play(sampler, tokenizer, box, [*front, *sound], 4, slots=4)
    statuses = [r.status for r in played]
    assert statuses == ["fault"] * 8 + ["solved"] * 248


def test_clock_and_progress_are_told(sampler, params, tokenizer, sandbox, bugs):
    clock, told = Clock(), []
    play(
        sampler,
        tokenizer,
        sandbox,
        bugs[:5],
        2,
        params,
        clock=clock,
        progress=lambda *counts: told.append(counts),
    )
    assert told == [(n, 10) for n in range(1, 11)]
    assert clock.sampling > 0 and clock.sandbox > 0
    assert 0 <= clock.idle < clock.total and 0 <= clock.idle_share < 1


def test_who_watches_sees_every_turn_and_may_stop(
    sampler, params, tokenizer, sandbox, bugs
):
    """All turns of an episode in order; a stop leaves out what had not ended."""
    seen = {}

    def watch(rollout, stop_at=None):
        key = rollout.bug.bug_id, rollout.sample
        assert len(rollout.steps) == len(rollout.commands)
        seen.setdefault(key, []).append((len(rollout.commands), rollout.status))
        return sum(map(len, seen.values())) == stop_at

    whole = play(sampler, tokenizer, sandbox, bugs[:3], 2, params, watch=watch)
    assert seen == {
        (r.bug.bug_id, r.sample): [
            (n, r.status if n == len(r.commands) else None)
            for n in range(1, len(r.commands) + 1)
        ]
        for r in whole
    }
    seen.clear()
    stopping = functools.partial(watch, stop_at=3)
    part = play(sampler, tokenizer, sandbox, bugs[:3], 2, params, watch=stopping)
    assert 3 <= sum(map(len, seen.values())) < sum(len(r.commands) for r in whole)
    ends = {(r.bug.bug_id, r.sample): r.episode.ids for r in whole}
    assert len(part) < len(whole)
    assert all(ends[r.bug.bug_id, r.sample] == r.episode.ids for r in part)
