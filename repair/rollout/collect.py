"""Episodes played by the policy: the sampler on one side, the environment on the other.

A fixed number of slots in a few cohorts. While the sandbox judges what one cohort has
written, the device decodes the others; an episode that ends gives its slot to the next
one that waits. docs/rollouts.md has a picture of a turn's way.

A command is drawn with a key made of (seed, step, bug, sample, turn), so no episode
depends on the slot, the cohort or the company it is played in.
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np

from repair.env.batch import reset_all, step_all
from repair.env.environment import Environment, StepResult
from repair.rollout.clock import Clock
from repair.rollout.decode import Sampled
from repair.rollout.player import Player
from repair.rollout.rollouts import Rollout
from repair.rollout.sampler import spread
from repair.rollout.sampler_state import SamplerState
from repair.rollout.sampling import Sampling
from repair.sandbox import SandboxError
from repair.tasks import Bug
from repair.text.episodes import PROMPT, Episode

# Episodes lost to faults from which on a run is not worth going on with, if they are
# half of all.
_MOST_FAULTS = 8


@functools.partial(jax.jit, static_argnums=0)
def _row_keys(seed: int, step, problem_B, sample_B, turn_B):
    """A key per row from what the row is, never from where it runs."""
    key = jax.random.fold_in(jax.random.key(seed), step)

    def row(problem, sample, turn):
        problem_key = jax.random.fold_in(key, problem)
        return jax.random.fold_in(jax.random.fold_in(problem_key, sample), turn)

    return jax.vmap(row)(problem_B, sample_B, turn_B)


@dataclasses.dataclass
class _Row:
    """An episode in play: its environment and its tokens, some not yet in the cache."""

    problem: int
    rollout: Rollout
    environment: Environment
    processed: int = 0

    def finish(self, turn: StepResult) -> None:
        """Takes the last turn in and lets go of the environment."""
        self.rollout.turns[-1] = turn
        if turn.status != "fault":
            code = self.environment.code
            self.rollout = dataclasses.replace(self.rollout, code=code)


@dataclasses.dataclass
class _Cohort:
    """Slots that go through the device together; an empty one holds None."""

    rows: list[_Row | None]
    state: SamplerState
    place: int

    def live(self) -> list[int]:
        """The slots in use."""
        return [slot for slot, row in enumerate(self.rows) if row is not None]


def play(
    player: Player,
    params,
    bugs: Sequence[Bug],
    samples: int,
    *,
    seed: int,
    step: int,
    sampling: Sampling,
    numbers: Sequence[int] | None = None,
    clock: Clock | None = None,
    progress: Callable[[int, int], None] | None = None,
    watch: Callable[[Rollout], bool] | None = None,
) -> list[Rollout]:
    """Plays `samples` episodes of every bug to their end.

    Args:
      player: What plays.
      params: The policy.
      bugs: What to repair.
      samples: Episodes of each bug.
      seed: With step, bug number, sample and turn: the key of each command.
      step: As above.
      sampling: The distribution that tokens are drawn from.
      numbers: Of the bugs, where they are some of more; by default 0, 1, ...
      clock: Gets the seconds and tokens spent on either side.
      progress: Called with (episodes ended, episodes in all).
      watch: Called with an episode, as far as it is, after each of its turns; once it
        says True, what has not ended is given up and left out.

    Returns:
      Rollouts, all samples of the first bug first. An episode whose first state
      leaves no room for a command has no turns and status "truncated"; one that
      broke has status "fault" and is nobody's failure: leave it out.

    Raises:
      SandboxError: Half of the episodes broke.
    """
    numbers = range(len(bugs)) if numbers is None else numbers
    game = _Game(
        player,
        params,
        bugs,
        numbers,
        samples,
        (seed, step),
        sampling,
        clock,
        progress,
        watch,
    )
    with game.clock:
        return game.play()


class _Game:
    """One call of `play`: what waits, what is in the slots, what has ended."""

    def __init__(
        self,
        player,
        params,
        bugs,
        numbers,
        samples,
        seed_step,
        sampling,
        clock,
        progress,
        watch,
    ):
        self.player, self.samplers, self.tokenizer = (
            player,
            player.samplers,
            player.tokenizer,
        )
        self.sampler = self.samplers[0]  # for what they have in common
        whole = spread(params)
        self.params = [sampler.place(whole) for sampler in self.samplers]
        self.sampling = sampling
        self.bugs, self.numbers, self.samples = bugs, numbers, samples
        self.seed, self.step = seed_step
        self.clock = clock or Clock()
        self.progress, self.watch = progress, watch
        self.stopped = False
        self.total = len(bugs) * samples
        self.begun = 0  # bugs that were reset
        self.ended: dict[tuple[int, int], Rollout] = {}
        self.faults: list[str] = []
        # Episodes that wait for a slot, with the row of `prefilled` they start from.
        self.waiting: collections.deque[tuple[_Row, int]] = collections.deque()
        self.prefilled: dict[int, SamplerState] = {}  # by place

    def play(self) -> list[Rollout]:
        """Cohorts in turn: collect, judge, refill, launch; until nothing is left.

        Or until who watches has seen enough.
        """
        count, size = self.player.cohort_size(self.total)
        under_way: collections.deque[_Cohort] = collections.deque()
        for index in range(count):
            place = index % len(self.samplers)
            state = self.samplers[place].start(size)
            cohort = _Cohort([None] * state.rows, state, place)
            # A bucket may hold more rows than there are slots.
            self._refill(cohort, size)
            if self._launch(cohort):
                under_way.append(cohort)
        while under_way:
            cohort = under_way.popleft()
            self._judge(cohort, self._collect(cohort))
            if self.stopped:
                break
            self._refill(cohort, size)
            if self._launch(cohort):
                under_way.append(cohort)
        return [self.ended[key] for key in sorted(self.ended)]

    def _refill(self, cohort: _Cohort, size: int) -> None:
        """Gives empty slots to waiting episodes, or gives the empty slots up."""
        free = [slot for slot, row in enumerate(cohort.rows[:size]) if row is None]
        sampler = self.samplers[cohort.place]
        cohort.state = sampler.clear(
            cohort.state, [s for s, row in enumerate(cohort.rows) if row is None]
        )
        while free and self._someone_waits(cohort.place):
            pairs = []
            while free and self.waiting:
                row, source = self.waiting.popleft()
                cohort.rows[free[0]] = row
                pairs.append((source, free.pop(0)))
            source = self._prefilled_on(cohort.place)
            cohort.state = sampler.insert(cohort.state, source, pairs)
        live = cohort.live()
        if live and free and len(live) <= self._smaller_bucket(cohort.state.rows):
            cohort.state = sampler.select(cohort.state, live)
            rows = [cohort.rows[slot] for slot in live]
            cohort.rows = rows + [None] * (cohort.state.rows - len(rows))

    def _smaller_bucket(self, rows: int) -> int:
        return max((b for b in self.sampler.row_buckets if b < rows), default=0)

    def _prefilled_on(self, place: int) -> SamplerState:
        """The processed prompts; copied to a place when it first needs them."""
        if place not in self.prefilled:
            state = next(iter(self.prefilled.values()))
            self.prefilled[place] = self.samplers[place].adopt(state)
        return self.prefilled[place]

    def _someone_waits(self, place: int) -> bool:
        """Whether an episode waits; begins those of the next bugs if none does."""
        while not self.waiting and self.begun < len(self.bugs):
            start = self.begun
            self.begun = min(start + self.player.prefill, len(self.bugs))
            self._begin(range(start, self.begun), place)
        return bool(self.waiting)

    def _begin(self, problems: range, place: int) -> None:
        """Resets all samples of some bugs; processes each prompt once, on a place."""
        places = [(p, s) for p in problems for s in range(self.samples)]
        environments = [self.player.make_environment() for _ in places]
        with self.clock.sandboxed():
            turns = reset_all(
                environments, [self.bugs[p] for p, _ in places], strict=False
            )
        prompts: dict[int, list[int]] = {}
        for (problem, sample), environment, turn in zip(
            places, environments, turns, strict=True
        ):
            bug, episode = self.bugs[problem], Episode()
            rollout = Rollout(bug, sample, episode, [turn], [], bug.faulty_code)
            row = _Row(problem, rollout, environment)
            if turn.done:
                self._end(row, turn)
                continue
            if problem not in prompts:
                prompts[problem] = self.tokenizer.prompt_ids(bug.task)
            episode.append(prompts[problem], PROMPT)
            episode.append(self.tokenizer.encode(turn.state_text))
            if not self._has_room(row):
                self._end(row, environment.truncate())
                continue
            row.processed = len(episode)
            self.waiting.append((row, problem - problems.start))
        contexts: list[list[int]] = [[] for _ in problems]
        for row, source in self.waiting:
            contexts[source] = row.rollout.episode.ids
        self.clock.processed(sum(map(len, contexts)))
        if self.waiting:
            self.clock.launching()
            sampler = self.samplers[place]
            state = sampler.start(self.player.prefill)
            state = sampler.extend(self.params[place], state, contexts)
            self.prefilled = {place: state}

    def _launch(self, cohort: _Cohort) -> bool:
        """Sends what is new to the device and starts the next commands there."""
        if not cohort.live():
            return False
        self.clock.launching()
        new = [
            row.rollout.episode.ids[row.processed :] if row else []
            for row in cohort.rows
        ]
        for row, ids in zip(cohort.rows, new, strict=True):
            if row:
                row.processed += len(ids)
        self.clock.processed(sum(map(len, new)))
        params, sampler = self.params[cohort.place], self.samplers[cohort.place]
        state = sampler.extend(params, cohort.state, new)
        some = next(row for row in cohort.rows if row)
        filled = [row or some for row in cohort.rows]
        keys_B = _row_keys(
            self.seed,
            self.step,
            np.array([self.numbers[row.problem] for row in filled], np.int32),
            np.array([row.rollout.sample for row in filled], np.int32),
            np.array([len(row.rollout.commands) for row in filled], np.int32),
        )
        cohort.state = sampler.decode(
            params,
            state,
            keys_B,
            sampling=self.sampling,
            done=[row is None for row in cohort.rows],
            leave=int(self.player.stragglers * len(cohort.live())),
        )
        self.clock.launched(cohort.state.sampled.counts)
        return True

    def _collect(self, cohort: _Cohort) -> Sampled:
        with self.clock.waiting():
            sampler = self.samplers[cohort.place]
            cohort.state, sampled = sampler.collect(cohort.state)
        return sampled

    def _judge(self, cohort: _Cohort, sampled: Sampled) -> None:
        """Carries out the commands that have ended; frees the slots of episodes."""
        live = [slot for slot in cohort.live() if sampled.ended[slot]]
        rows = [cohort.rows[slot] for slot in live]
        for slot, row in zip(live, rows, strict=True):
            self._record(row, sampled, slot)
        with self.clock.sandboxed():
            turns = step_all(
                [row.environment for row in rows],
                [row.rollout.commands[-1] for row in rows],
                strict=False,
            )
        for slot, row, turn in zip(live, rows, turns, strict=True):
            row.rollout.turns.append(turn)
            if not self._goes_on(row, turn):
                cohort.rows[slot] = None
            if self.watch and self.watch(row.rollout):
                self.stopped = True

    def _goes_on(self, row: _Row, turn: StepResult) -> bool:
        """Appends the new state for the next command, or ends the episode."""
        if not turn.done:
            state_ids = self.tokenizer.encode(turn.state_text)
            if self._has_room(row, len(state_ids)):
                row.rollout.episode.append(state_ids)
                return True
            turn = row.environment.truncate()
        self._end(row, turn)
        return False

    def _record(self, row: _Row, sampled: Sampled, slot: int) -> None:
        """Appends the sampled tokens as sampled, and the command as text."""
        count = int(sampled.counts[slot])
        ids = sampled.tokens[slot, :count].tolist()
        episode, turn = row.rollout.episode, len(row.rollout.commands)
        episode.append(ids, turn, sampled.log_probs[slot, :count].tolist())
        # The sampler feeds all sampled tokens but the last.
        row.processed += count - 1
        self.clock.processed(count - 1, sampled=count)
        end_ids = self.tokenizer.end_ids
        if not self.tokenizer.ends(ids[-1]) and (
            len(episode) + len(end_ids) <= self.sampler.max_length
        ):
            # Cut at max_new: the host ends it. Where that has no room, nothing follows.
            episode.append(end_ids)
        row.rollout.commands.append(self.tokenizer.command_text(ids))

    def _has_room(self, row: _Row, more: int = 0) -> bool:
        """Whether `more` tokens and the longest command still fit the context."""
        need = len(row.rollout.episode) + more + self.sampler.max_new
        return need <= self.sampler.max_length

    def _end(self, row: _Row, turn: StepResult) -> None:
        row.finish(turn)
        self.ended[row.problem, row.rollout.sample] = row.rollout
        if turn.fault:
            self.faults.append(turn.fault)
            if len(self.faults) >= min(_MOST_FAULTS, self.total) and (
                2 * len(self.faults) >= len(self.ended)
            ):
                raise SandboxError(
                    f"{len(self.faults)} of {len(self.ended)} episodes broke; the"
                    f" last one: {turn.fault}"
                )
        if self.progress:
            self.progress(len(self.ended), self.total)
