"""Several processes that train one model: who does what, and how the others learn it.

Every process runs the same program. Arrays on the mesh are global; what is on the host
is made once and told (`once`), or made in shares and put together (`gather`), so that
all hold the same and take the same turns. Only the first one writes files.
"""

import pickle
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils

from repair.errors import UserError


def start(coordinator: str = "", processes: int = 0, process: int = -1) -> None:
    """Joins the others; call before anything else of jax, in every process.

    Args:
      coordinator: HOST:PORT of the first process; "" to ask the cluster (SLURM, Open
        MPI, Kubernetes and Cloud TPUs are known to `jax.distributed`). Where it is
        given the cluster is not asked for anything, and each process takes all the
        devices that it sees: asked, SLURM would leave it one.
      processes: How many there are, with a coordinator.
      process: Which one this is, from 0.

    Raises:
      UserError: They cannot be found, or the numbers do not fit.
    """
    if coordinator and not 0 <= process < processes:
        raise UserError(
            f"--coordinator={coordinator} needs --processes and --process with"
            f" 0 <= process < processes; found process={process} of {processes}"
        )
    given = {}
    if coordinator:
        given = {
            "coordinator_address": coordinator,
            "num_processes": processes,
            "process_id": process,
            "cluster_detection_method": "deactivate",
        }
    try:
        jax.distributed.initialize(**given)
    except (ValueError, RuntimeError) as error:
        raise UserError(
            "the other processes cannot be found"
            f" ({str(error).strip().splitlines()[0]}); give --coordinator=HOST:PORT,"
            " --processes and --process"
        ) from error


def first() -> bool:
    """Whether this process writes the files."""
    return jax.process_index() == 0


def once(function: Callable):
    """What function() gives in the first process; in all of them, errors included.

    Args:
      function: Called in the first process only; its result is pickled.
    """
    if jax.process_count() == 1:
        return function()
    outcome = None
    if first():
        try:
            outcome = function(), None
        except Exception as error:  # told to the others, which wait for it
            outcome = None, error
    data = np.frombuffer(pickle.dumps(outcome), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
    padded = np.zeros(size, np.uint8)
    padded[: len(data)] = data[:size]
    data = np.asarray(multihost_utils.broadcast_one_to_all(padded))
    value, error = pickle.loads(data.tobytes())
    if error is not None:
        raise error
    return value


def gather(value) -> list:
    """Every process's value, by process; the values are pickled."""
    if jax.process_count() == 1:
        return [value]
    data = np.frombuffer(pickle.dumps(value), np.uint8)
    sizes = np.asarray(multihost_utils.process_allgather(np.int32(len(data))))
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: len(data)] = data
    rows = np.asarray(multihost_utils.process_allgather(padded))
    return [
        pickle.loads(row[:size].tobytes())
        for row, size in zip(rows, sizes, strict=True)
    ]


def share(items: list) -> list:
    """The part of items that is this process's, where all hold the same: every n-th."""
    return items[jax.process_index() :: jax.process_count()]


def put_together(shares: list[list]) -> list:
    """The items of which `share` gave these parts, in their old order."""
    items: list = [None] * sum(map(len, shares))
    for process, part in enumerate(shares):
        items[process :: len(shares)] = part
    return items
