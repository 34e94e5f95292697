"""Signals: the first lets a run save, a second ends it at once."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from repair.errors import Interrupted
from repair.training.interrupts import SIGNALS, Interrupts, handle_interrupts


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_block_that_has_nothing_to_save(number):
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught:
        with handle_interrupts(print):
            os.kill(os.getpid(), number)
    name = signal.Signals(number).name
    assert str(caught.value) == (
        f"ended by {name}; the same command goes on from the last checkpoint"
    )
    assert signal.getsignal(number) == before


def test_within_a_step_it_is_noted_and_told():
    said = []
    with handle_interrupts(said.append) as interrupts:
        interrupts.waits = True
        assert interrupts.agreed() == 0
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.got == interrupts.agreed() == signal.SIGTERM
    assert said == ["SIGTERM: ending after this step; once more ends at once"]


def test_the_second_signal_ends_the_process():
    code = (
        "import os, signal\n"
        "from repair.training.interrupts import handle_interrupts\n"
        "with handle_interrupts(print) as interrupts:\n"
        "    interrupts.waits = True\n"
        "    for _ in range(2): os.kill(os.getpid(), signal.SIGINT)\n"
        "print('went on')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 130 and "went on" not in done.stdout


def test_other_threads_handle_no_signals():
    found = []

    def enter():
        with handle_interrupts(print) as interrupts:
            found.append(interrupts)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert isinstance(found[0], Interrupts)
    assert signal.getsignal(signal.SIGTERM) == before
