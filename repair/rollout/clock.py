"""Where the time of rollouts goes: on the device, in the sandbox, nowhere."""

import contextlib
import queue
import threading
import time

import jax


class Clock:
    """Seconds and tokens of rollouts; a context manager while they are played.

    The device counts as idle from the end of all that it was given to the beginning
    of the next launch. A thread of its own notes the ends: it sleeps in the runtime,
    and wakes once a turn.

    Attributes:
      total: Seconds played.
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
        """Share of the seconds played in which the device was idle."""
        return self.idle / self.total if self.total else 0.0

    def launching(self) -> None:
        """Something is about to be given to the device; `launched` when all is."""
        if self._launching is None:
            self._launching = time.perf_counter()

    def launched(self, outputs) -> None:
        """It has been given; outputs are its last results, which nobody donates."""
        self._launches.put((self._launching, outputs))
        self._launching = None

    def processed(self, tokens: int, sampled: int = 0) -> None:
        """Tokens that went through the model; with sampled ones, a turn."""
        self.processed_tokens += tokens
        self.sampled_tokens += sampled
        self.turns += sampled > 0

    @contextlib.contextmanager
    def waiting(self):
        """Around a wait for the device."""
        started = time.perf_counter()
        yield
        self.sampling += time.perf_counter() - started

    @contextlib.contextmanager
    def sandboxed(self):
        """Around a wait for the sandbox."""
        started = time.perf_counter()
        yield
        self.sandbox += time.perf_counter() - started

    def _watch(self) -> None:
        while (launch := self._launches.get()) is not None:
            began, outputs = launch
            jax.block_until_ready(outputs)
            self.idle += max(began - self._free, 0.0)
            self._free = time.perf_counter()
