"""Alarms: each for its own reason, and none for a healthy run."""

import pytest

from repair.training.alarms import alarms

HEALTHY = {"reward": 0.5, "malformed": 0.1, "entropy": 0.3, "log_prob_gap": 1e-3}


def rows(count, **last):
    """Healthy steps, of which the last ten have other figures."""
    return [HEALTHY] * (count - 10) + [HEALTHY | last] * 10


def test_a_healthy_run_and_a_young_one_are_left_alone():
    assert alarms(rows(80)) == {}
    assert alarms([HEALTHY | {"entropy": 0.0}] * 9) == {}
    # Steps without an update have no entropy; none of them has: nothing to say.
    assert alarms([{"reward": 0.0, "malformed": 0.0}] * 20) == {}


@pytest.mark.parametrize(
    ("name", "bad", "good", "says"),
    [
        ("entropy", 0.009, 0.011, "0.0090 nats"),
        ("malformed", 0.51, 0.49, "51% of the commands"),
        ("log_prob_gap", 0.11, 0.09, "0.11 nats"),
    ],
)
def test_a_figure_out_of_bounds(name, bad, good, says):
    (text,) = alarms(rows(20, **{name: bad})).values()
    assert says in text
    assert alarms(rows(20, **{name: good})) == {}


def test_a_reward_that_halves_within_fifty_steps():
    (text,) = alarms(rows(60, reward=0.24)).values()
    assert "from 0.50 to 0.24 over 50 steps" in text
    assert alarms(rows(60, reward=0.26)) == {}
    assert alarms(rows(59, reward=0.0)) == {}
    # What was never good cannot fall.
    low = [HEALTHY | {"reward": -0.1}] * 50 + [HEALTHY | {"reward": -0.9}] * 10
    assert alarms(low) == {}
