"""Times of rollouts: on the device, in the sandbox, idle."""

import contextlib
import queue
import threading
import time

import jax


class Clock:
    """Seconds and tokens of rollouts; a context manager while they are collected.

    The device is idle from the end of its last program to the next launch. A thread
    sleeps in the runtime and notes the ends; it wakes once a turn.

    Attributes:
      total: Seconds in all.
      idle: Of these, seconds in which the device had nothing to do.
      sampling: Seconds in which the host waited for the device.
      sandbox: Seconds in which the host waited for the sandbox.
      turns: Commands sampled.
      sampled_tokens: Tokens sampled.
      processed_tokens: Tokens that went through the model, padding left out.
    """

    def __init__(self):
        self.total = self.idle = self.sampling = self.sandbox = 0.0
        self.turns = self.sampled_tokens = self.processed_tokens = 0

    def __enter__(self):
        self._started = self._free = time.perf_counter()
        self._launching: float | None = None
        self._launches: queue.SimpleQueue = queue.SimpleQueue()
        self._watcher = threading.Thread(target=self._watch, name="device clock")
        self._watcher.start()
        return self

    def __exit__(self, *exception):
        self._launches.put(None)
        self._watcher.join()
        ended = time.perf_counter()
        self.idle += ended - self._free
        self.total += ended - self._started

    @property
    def idle_share(self) -> float:
        """Share of the seconds in which the device was idle."""
        return self.idle / self.total if self.total else 0.0

    def launching(self) -> None:
        """Note that a launch begins, which may have several parts."""
        if self._launching is None:
            self._launching = time.perf_counter()

    def launched(self, outputs) -> None:
        """Note that the launch is complete; its last outputs are never donated."""
        self._launches.put((self._launching, outputs))
        self._launching = None

    def processed(self, tokens: int, sampled: int = 0) -> None:
        """Count tokens that went through the model; with sampled ones, a turn."""
        self.processed_tokens += tokens
        self.sampled_tokens += sampled
        self.turns += sampled > 0

    @contextlib.contextmanager
    def waiting(self, name: str):
        """Time a wait for the device ("sampling") or the "sandbox"."""
        started = time.perf_counter()
        yield
        setattr(self, name, getattr(self, name) + time.perf_counter() - started)

    def _watch(self) -> None:
        while (launch := self._launches.get()) is not None:
            began, outputs = launch
            jax.block_until_ready(outputs)
            self.idle += max(began - self._free, 0.0)
            self._free = time.perf_counter()
