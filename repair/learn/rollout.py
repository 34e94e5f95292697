"""Episodes played by the policy: the sampler on one side, the environment on the other.

Rows go in lockstep: every turn is one decode on the device, one batch of programs in
the sandbox, and one extend by what is new. Rows whose episode has ended are dropped
as soon as a smaller row bucket holds the rest.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np

from repair.env.environment import Environment, Turn, reset_all, step_all
from repair.model.sampler import Sampler
from repair.tasks import Bug
from repair.text.episodes import PROMPT, Episode
from repair.text.tokens import Codec


@dataclasses.dataclass(frozen=True)
class Rollout:
    """One finished episode.

    Attributes:
      bug: What was to be repaired; samples of one bug form a group.
      sample: Which sample of its group this is.
      episode: Its tokens.
      turns: What the environment answered: turns[0] to the reset, turns[e + 1] to
        command e.
      commands: The commands as text.
      code: The program at the end.
    """

    bug: Bug
    sample: int
    episode: Episode
    turns: list[Turn]
    commands: list[str]
    code: str

    @property
    def rewards(self) -> np.ndarray:
        """Reward of each command, E."""
        return np.array([turn.reward for turn in self.turns[1:]], np.float64)

    @property
    def status(self) -> str:
        """How the episode ended."""
        return self.turns[-1].status

    @property
    def passed(self) -> bool:
        """Whether the program passes the shown tests at the end."""
        return self.turns[-1].passed


@dataclasses.dataclass
class Clock:
    """Seconds that rollouts spent on the device and in the sandbox."""

    sampling: float = 0.0
    sandbox: float = 0.0


@functools.partial(jax.jit, static_argnums=0)
def _row_keys(seed: int, step, problem_B, sample_B, turn):
    """A key per row from what the row is, never from where it runs."""
    key = jax.random.fold_in(jax.random.key(seed), step)

    def row(problem, sample):
        problem_key = jax.random.fold_in(key, problem)
        return jax.random.fold_in(jax.random.fold_in(problem_key, sample), turn)

    return jax.vmap(row)(problem_B, sample_B)


@dataclasses.dataclass
class _Row:
    """A row in play: its environment and its tokens, some not yet in the cache."""

    problem: int
    rollout: Rollout
    environment: Environment
    processed: int = 0

    def new_ids(self) -> list[int]:
        return self.rollout.episode.ids[self.processed :]


def play(
    sampler: Sampler,
    params,
    codec: Codec,
    make_environment: Callable[[], Environment],
    bugs: Sequence[Bug],
    samples: int,
    *,
    seed: int,
    step: int,
    temperature: float,
    clock: Clock | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Rollout]:
    """Plays `samples` episodes of every bug to their end.

    Args:
      sampler: Jitted sampling functions.
      params: The policy.
      codec: The tokenizer and prompt.
      make_environment: A fresh environment; all share one sandbox.
      bugs: What to repair.
      samples: Episodes of each bug.
      seed: With step, bug index, sample and turn: the key of each command.
      step: As above.
      temperature: 0 is greedy.
      clock: Gets the seconds spent on either side.
      progress: Called with (episodes ended, episodes in all).

    Returns:
      Rollouts, all samples of the first bug first. An episode whose first state
      leaves no room for a command has no turns and status "truncated".
    """
    clock = clock or Clock()
    per_chunk = max(sampler.row_buckets[-1] // samples, 1)
    rollouts: list[Rollout] = []
    for start in range(0, len(bugs), per_chunk):
        chunk = bugs[start : start + per_chunk]
        rows = _reset(codec, make_environment, chunk, start, samples, clock)
        _play_rows(
            sampler, params, codec, rows, samples, seed, step, temperature, clock
        )
        rollouts += [row.rollout for row in rows]
        if progress:
            progress(len(rollouts), len(bugs) * samples)
    return rollouts


def _reset(codec, make_environment, bugs, first, samples, clock) -> list[_Row]:
    environments = [make_environment() for _ in range(len(bugs) * samples)]
    repeated = [bug for bug in bugs for _ in range(samples)]
    started = time.perf_counter()
    turns = reset_all(environments, repeated)
    clock.sandbox += time.perf_counter() - started
    rows = []
    for index, (bug, turn) in enumerate(zip(repeated, turns, strict=True)):
        episode = Episode()
        episode.append(codec.prompt_ids(bug.task), PROMPT)
        episode.append(codec.encode(turn.state_text))
        rollout = Rollout(bug, index % samples, episode, [turn], [], bug.faulty_code)
        rows.append(_Row(first + index // samples, rollout, environments[index]))
    return rows


def _play_rows(sampler, params, codec, rows, samples, seed, step, temperature, clock):
    """Plays rows that fit one batch; each row's rollout grows in place."""
    live = []
    for index, row in enumerate(rows):
        if _has_room(sampler, row):
            live.append(index)
        else:
            _truncate(row)
    if not live:
        return
    started = time.perf_counter()
    state = _prefill(sampler, params, rows, live, samples)
    turn = 0
    while live:
        batch = [rows[i] for i in live]
        state, outputs = _decode(
            sampler, params, state, batch, seed, step, turn, temperature
        )
        clock.sampling += time.perf_counter() - started
        commands = _record(codec, batch, outputs, turn)
        started = time.perf_counter()
        answers = step_all([row.environment for row in batch], commands)
        clock.sandbox += time.perf_counter() - started
        started = time.perf_counter()
        kept = []
        for slot, (row, answer) in enumerate(zip(batch, answers, strict=True)):
            row.rollout.turns.append(answer)
            if not answer.done:
                state_ids = codec.encode(answer.state_text)
                if _has_room(sampler, row, len(state_ids)):
                    row.rollout.episode.append(state_ids)
                    kept.append(slot)
                    continue
                _truncate(row)
            row.rollout = dataclasses.replace(row.rollout, code=row.environment.code)
        live = [live[slot] for slot in kept]
        if live:
            if len(kept) < len(batch):
                state = sampler.select(state, kept)
            state = _extend(sampler, params, state, [rows[i] for i in live])
        turn += 1


def _has_room(sampler: Sampler, row: _Row, more: int = 0) -> bool:
    """Whether `more` tokens and the longest command still fit the context."""
    return len(row.rollout.episode) + more + sampler.max_new <= sampler.max_length


def _truncate(row: _Row) -> None:
    row.rollout.turns[-1] = row.environment.truncate()


def _prefill(sampler, params, rows, live, samples):
    """Processes each bug's prompt once and copies it to the bug's samples."""
    leaders = sorted({i - i % samples for i in live})
    state = sampler.start(len(leaders))
    state = sampler.extend(
        params, state, [rows[i].rollout.episode.ids for i in leaders]
    )
    place = {leader: slot for slot, leader in enumerate(leaders)}
    for i in live:
        rows[i].processed = len(rows[i].rollout.episode)
    return sampler.select(state, [place[i - i % samples] for i in live])


def _extend(sampler, params, state, batch):
    state = sampler.extend(params, state, [row.new_ids() for row in batch])
    for row in batch:
        row.processed = len(row.rollout.episode)
    return state


def _decode(sampler, params, state, batch, seed, step, turn, temperature):
    pad = [batch[0]] * (state.rows - len(batch))
    keys_B = _row_keys(
        seed,
        step,
        np.array([row.problem for row in batch + pad], np.int32),
        np.array([row.rollout.sample for row in batch + pad], np.int32),
        turn,
    )
    done = np.arange(state.rows) >= len(batch)
    state, *outputs = sampler.decode(
        params, state, keys_B, temperature=temperature, done=done
    )
    return state, jax.device_get(outputs)


def _record(codec, batch, outputs, turn) -> list[str]:
    """Appends the sampled tokens as sampled; returns the commands as text."""
    tokens_BC, log_probs_BC, counts_B = outputs
    commands = []
    for slot, row in enumerate(batch):
        count = counts_B[slot]
        ids = tokens_BC[slot, :count].tolist()
        episode = row.rollout.episode
        episode.append(ids, turn, log_probs_BC[slot, :count].tolist())
        # The sampler feeds all sampled tokens but the last.
        row.processed += count - 1
        if not codec.stop_V[ids[-1]]:
            episode.append([codec.newline_id])  # cut at max_new: the host ends it
        command = codec.command_text(ids)
        row.rollout.commands.append(command)
        commands.append(command)
    return commands
