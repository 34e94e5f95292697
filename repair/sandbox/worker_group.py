"""Workers that share a folder, and the threads that talk to them."""

import concurrent.futures
import os
import queue
import shutil
import tempfile
from collections.abc import Sequence
from typing import Self

from repair.sandbox import isolation
from repair.sandbox.limits import Limits
from repair.sandbox.worker import SandboxError, Worker


class WorkerGroup:
    """Workers of one sandbox; a context manager.

    Args:
      limits: Limits of a job.
      name: Of the folder and the threads.
    """

    def __init__(self, limits: Limits, name: str):
        self.limits = limits
        self._name = name
        self._folder = os.path.realpath(tempfile.mkdtemp(prefix=f"{name}-"))
        os.chmod(self._folder, 0o755)  # the workers are other users

    def _start_workers(self, workers: Sequence[Worker], threads: int) -> None:
        """Start the workers and the threads; if one cannot start, end all.

        Raises:
          SandboxError: A worker cannot start.
        """
        self._workers = list(workers)
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for each in self._workers:
            self._idle.put(each)
        self._threads = concurrent.futures.ThreadPoolExecutor(threads, self._name)
        try:
            for each in self._workers:
                each.start()
        except SandboxError:
            self.close()
            raise

    def _measure_level(self, allowed: tuple[str, ...] = ()) -> isolation.Level:
        """Return the isolation level that a probe measures in a child of a worker."""
        idle = self._idle.get()
        try:
            return isolation.measure_level(idle, self.limits.memory_mb, allowed)
        finally:
            self._idle.put(idle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers and the programs that still run; may be called again."""
        for each in self._workers:
            each.terminate()
        self._threads.shutdown(cancel_futures=True)
        for each in self._workers:
            each.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
