"""Several processes that train one model on one mesh of all their devices.

Every process runs the same program. Values on the host are made once and broadcast
(`once`), or made in shares and gathered (`gather_values`), so that all processes hold
the same and take the same steps. The first process alone writes files.
"""

import pickle
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils

from repair.errors import UserError


def connect(coordinator: str = "", processes: int = 0, process: int = -1) -> None:
    """Join the other processes; the first call to jax in every process.

    Args:
      coordinator: HOST:PORT of the first process, each of which then takes all devices
        that it sees; or "" to ask the cluster (`jax.distributed` knows SLURM, Open MPI,
        Kubernetes and Cloud TPUs).
      processes: Number of processes, with a coordinator.
      process: Index of this one.

    Raises:
      UserError: They cannot be found, or the numbers do not fit.
    """
    given = {}
    if coordinator:
        if not 0 <= process < processes:
            raise UserError(
                f"--coordinator={coordinator} needs --processes and --process with"
                f" 0 <= process < processes; found process={process} of {processes}"
            )
        given = {
            "coordinator_address": coordinator,
            "num_processes": processes,
            "process_id": process,
            "cluster_detection_method": "deactivate",  # SLURM would leave one device
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
    """Return True in the process that writes the files."""
    return jax.process_index() == 0


def once(function: Callable):
    """Call function() in the first process; return or raise its outcome in all."""
    if jax.process_count() == 1:
        return function()
    outcome = None
    if first():
        try:
            outcome = function(), None
        except Exception as error:  # raised in all processes, which wait for it
            outcome = None, error
    data = np.frombuffer(pickle.dumps(outcome), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
    # All give arrays of one size; that of the first process is taken.
    data = multihost_utils.broadcast_one_to_all(np.resize(data, size))
    value, error = pickle.loads(np.asarray(data).tobytes())
    if error is not None:
        raise error
    return value


def gather_values(value) -> list:
    """Return every process's value, pickled on its way, by process."""
    if jax.process_count() == 1:
        return [value]
    data = np.frombuffer(pickle.dumps(value), np.uint8)
    sizes = np.asarray(multihost_utils.process_allgather(np.int32(len(data))))
    rows = multihost_utils.process_allgather(np.resize(data, sizes.max()))
    # Bytes after the end of a pickle are ignored.
    return [pickle.loads(row.tobytes()) for row in np.asarray(rows)]


def share(items: list) -> list:
    """Return this process's share, every n-th, of items that all processes hold."""
    return items[jax.process_index() :: jax.process_count()]
