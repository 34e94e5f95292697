"""Signals that ask a run to end. The first lets it save, a second ends it at once."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

from repair.errors import Interrupted
from repair.model import multihost

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Signals that came, and if the run is at a place where it must not end at once.

    Attributes:
      waits: True within a step of a loop, which ends first and is saved.
      got: Number of the first signal, or 0.
    """

    def __init__(self, report: Callable[[str], None] = lambda line: None):
        self.waits, self.got = False, 0
        self._report = report

    def handle(self, number: int, _frame) -> None:
        """Note the first signal, or end here if nothing is lost; end at the second."""
        if self.got:
            os._exit(128 + number)
        self.got = number
        if not self.waits:
            raise Interrupted(number)
        name = signal.Signals(number).name
        self._report(f"{name}: ending after this step; once more ends at once")

    def agreed(self) -> int:
        """Return the signal that any process of the run got, or 0; call in all."""
        return max(multihost.gather_values(self.got))


@contextlib.contextmanager
def handle_interrupts(report: Callable[[str], None]) -> Iterator[Interrupts]:
    """Handle the signals in the block; in another thread than the first, do nothing."""
    interrupts = Interrupts(report)
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    before = {number: signal.signal(number, interrupts.handle) for number in SIGNALS}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
