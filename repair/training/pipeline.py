"""Stage one's batches from a folder of demonstrations that need not fit in memory.

Held in memory is the length of each demonstration. Rows are laid out from the lengths
and the rows of a step are drawn from (seed, step), both as in `training.sft`, so a
batch has the bits that it would have if all episodes were held. Each process reads and
encodes what lies in the rows of its own devices, and leaves the others empty. grain
prepares the next batches in threads while the devices work; where it stands goes into
each checkpoint, with the identity of the folder.
"""

import hashlib
import itertools
import json
import os
import pathlib
from collections.abc import Callable

import numpy as np

from repair.demos.answers import as_answers
from repair.demos.demo_folder import DemoFolder
from repair.errors import UserError
from repair.model import multihost
from repair.model.sharding import batch_sharding
from repair.text.episodes import encode_demos
from repair.text.packing import Batch, pack
from repair.text.tokenizer import Tokenizer
from repair.training import sft
from repair.training.metrics import progress

_AT_ONCE = 256  # demonstrations in memory while lengths are measured
_THREADS, _AHEAD = 2, 4  # that prepare batches, and how many these are


class Pipeline:
    """The batches of stage one, in the order of the steps.

    Args:
      demos: The demonstrations.
      lengths: Tokens of each, as from `measure`.
      tokenizer: Encodes them.
      config: Shape of a batch, and how many steps there are.
      seed: Of the order of rows.
      mesh: Whose rows are to be filled.

    Attributes:
      rows: Rows of an epoch.
      left_out: Demonstrations that are too long for a row.

    Raises:
      UserError: grain is not installed, or not even one batch comes together.
    """

    def __init__(
        self,
        demos: DemoFolder,
        lengths: np.ndarray,
        tokenizer: Tokenizer,
        config: sft.SftConfig,
        seed: int,
        mesh,
    ):
        grain = _grain()
        self._demos, self._lengths = demos, lengths
        self._codec, self._config, self._seed = tokenizer, config, seed
        self._own = own_rows(mesh, config.rows)
        self._fitting, self._layout = sft.lay_out(lengths, config)
        self.rows = len(self._layout)
        self.left_out = len(demos) - len(self._fitting)
        steps = grain.MapDataset.range(config.steps).map(self._prepare)
        reading = grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=_AHEAD)
        self._batches = iter(steps.to_iter_dataset(reading))

    def batch(self, step: int) -> tuple[Batch, float]:
        """The batch of the next step, and its share of real tokens.

        Only this process's rows are filled; the share is that of all rows.

        Raises:
          ValueError: It is not the next one.
        """
        found, batch = next(self._batches)
        if found != step:
            raise ValueError(f"the next batch is that of step {found}, not of {step}")
        used = sum(int(self._lengths[i]) for row in self._members(step) for i in row)
        return batch, used / batch.tokens.size

    def state(self) -> dict:
        """Where this stands, as JSON for a checkpoint."""
        return {"demos": digest(self._demos), "batches": self._batches.get_state()}

    def restore(self, state: dict) -> None:
        """Goes on from a `state`.

        Raises:
          UserError: It was that of other demonstrations.
        """
        if state["demos"] != digest(self._demos):
            raise UserError(
                f"{self._demos.folder} holds other demonstrations than when this run"
                " began; give the old ones (demos.path), or another --workdir"
            )
        self._batches.set_state(state["batches"])

    def _members(self, step: int) -> list[list[int]]:
        """The demonstrations in each row of a step's batch, by their numbers."""
        rows = sft.rows_at(self._layout, self._config, self._seed, step)
        return [[self._fitting[i] for i in row] for row in rows]

    def _prepare(self, step: int) -> tuple[int, Batch]:
        own, read, rows = set(self._own), [], []
        for r, members in enumerate(self._members(int(step))):
            members = members if r in own else []
            rows.append(list(range(len(read), len(read) + len(members))))
            read += members
        demos = as_answers([self._demos[i] for i in read], self._codec.mode)
        episodes = encode_demos(self._codec, demos)
        weights = [sft.loss_weights(e, self._config.state_weight) for e in episodes]
        batch = pack(episodes, rows, self._config.row_length, weights=weights)
        return int(step), batch


def own_rows(mesh, rows: int) -> list[int]:
    """The rows of a batch that this process's devices hold."""
    places = batch_sharding(mesh).addressable_devices_indices_map((rows,)).values()
    return sorted({row for (part,) in places for row in range(rows)[part]})


def measure(
    demos: DemoFolder,
    tokenizer: Tokenizer,
    held_out: set[str],
    tell: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """Tokens of each demonstration, int32.

    Args:
      demos: The demonstrations.
      tokenizer: Encodes them.
      held_out: Programs that must not be trained on.
      tell: Called with the number of demonstrations done.

    Raises:
      UserError: One repairs a program that is held out, or a row is wrong.
    """
    lengths = np.zeros(len(demos), np.int32)
    done, rest = 0, iter(demos)
    while chunk := list(itertools.islice(rest, _AT_ONCE)):
        for number, demo in enumerate(chunk, done):
            if demo.bug.task.code in held_out:
                raise UserError(
                    f"{demos.where(number)} repairs the program of task"
                    f" {demo.bug.task.task_id!r}, which is held out; make the"
                    " demonstrations of the training tasks alone, or choose other"
                    " tasks to hold out (tasks.eval)"
                )
        episodes = encode_demos(tokenizer, as_answers(chunk, tokenizer.mode))
        lengths[done : done + len(chunk)] = [len(episode) for episode in episodes]
        done += len(chunk)
        tell(done)
    return lengths


def remembered(
    workdir: pathlib.Path, demos: DemoFolder, tokenizer: Tokenizer, held_out: set[str]
) -> np.ndarray:
    """As `measure`, once for all processes and for all that resume a run.

    Args:
      workdir: Of the run, which has one tokenizer; the lengths are kept there.
      demos: The demonstrations.
      tokenizer: Encodes them.
      held_out: Programs that must not be trained on.
    """

    def lengths():
        path = workdir / f"lengths-{digest(demos)[:16]}.npy"
        if not path.exists():
            partial = path.with_suffix(".partial")
            with partial.open("wb") as file, progress(len(demos), "lengths") as bar:
                np.save(file, measure(demos, tokenizer, held_out, bar.update))
            os.replace(partial, path)
        return np.load(path)

    return multihost.once(lengths)


def digest(demos: DemoFolder) -> str:
    """The identity of a folder's demonstrations: of its index, which has its hashes."""
    return hashlib.sha256(json.dumps(demos.index).encode()).hexdigest()


def _grain():
    try:
        import grain
    except ImportError as error:
        raise UserError(
            f"grain cannot be imported ({error}); demonstrations from a folder"
            " (demos.path) need it: run pip install -e '.[data]'"
        ) from error
    return grain
