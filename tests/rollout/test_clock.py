"""Seconds in which a device counts as idle."""

import time

from repair.rollout.clock import Clock


class Output:
    """Ready after some time, as the results of a launch are."""

    def __init__(self, seconds):
        self.seconds = seconds

    def block_until_ready(self):
        time.sleep(self.seconds)
        return self


def test_idle_is_from_the_end_of_all_work_to_the_next_launch():
    clock = Clock()
    with clock:
        time.sleep(0.1)  # nothing launched yet
        clock.launching()
        clock.launched(Output(0.2))
        clock.launching()  # while the first still runs
        clock.launched(Output(0.2))
        time.sleep(0.7)  # of which 0.4 busy
        clock.launching()
        clock.launched(Output(0.1))
    assert abs(clock.idle - 0.4) < 0.05
    assert abs(clock.total - 0.9) < 0.05
    assert abs(clock.idle_share - clock.idle / clock.total) < 1e-9


def test_a_launch_begins_with_its_first_part():
    clock = Clock()
    with clock:
        clock.launching()
        time.sleep(0.2)  # preparing the rest while the first part runs
        clock.launching()
        clock.launched(Output(0.0))
    assert clock.idle < 0.05


def test_waits_add_up_over_several_plays():
    clock = Clock()
    for _ in range(2):
        with clock, clock.waiting("sampling"):
            time.sleep(0.05)
        with clock, clock.waiting("sandbox"):
            time.sleep(0.05)
        clock.processed(7, sampled=3)
        clock.processed(2)
    assert abs(clock.sampling - 0.1) < 0.05 and abs(clock.sandbox - 0.1) < 0.05
    assert (clock.turns, clock.sampled_tokens, clock.processed_tokens) == (2, 6, 18)
