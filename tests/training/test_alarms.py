"""Alarms: each for its own reason, once, and none for a healthy run."""

import pytest

from repair.training.alarms import alarms, new_alarms

HEALTHY = {
    "reward": 0.5,
    "malformed": 0.1,
    "entropy": 0.3,
    "log_prob_gap": 1e-3,
    "gave_up": 0.1,
    "truncated": 0.0,
    "kl": 0.02,
    "faults": 0.0,
    "zero_variance_groups": 0.4,
    "gated_groups": 0.1,
}


def rows(count, **last):
    """Healthy steps, of which the last ten have other figures."""
    return [HEALTHY] * (count - 10) + [HEALTHY | last] * 10


def test_a_healthy_run_and_a_young_one_are_left_alone():
    assert alarms([]) == {}
    assert alarms(rows(80)) == {}
    assert alarms([HEALTHY | {"entropy": 0.0}] * 9) == {}
    # Steps without an update have no entropy; none of them has: nothing to say.
    assert alarms([{"reward": 0.0, "malformed": 0.0}] * 20) == {}
    # Nor is there one to compare with where the first steps had no update.
    assert alarms([{"reward": 0.5}] * 10 + [HEALTHY | {"entropy": 9.0}] * 10) == {}


@pytest.mark.parametrize(
    ("name", "field", "bad", "good", "says"),
    [
        ("entropy", "entropy", 0.009, 0.011, "0.0090 nats"),
        ("entropy_high", "entropy", 0.61, 0.59, "from 0.30 to 0.61 nats"),
        ("malformed", "malformed", 0.51, 0.49, "51% of the commands"),
        ("gap", "log_prob_gap", 0.11, 0.09, "0.11 nats"),
        ("gave_up", "gave_up", 0.34, 0.33, "34% of the episodes give up"),
        ("truncated", "truncated", 0.11, 0.09, "11% of the episodes run out of"),
        ("kl", "kl", 2.1, 1.9, "2.10 nats a token away"),
    ],
)
def test_a_figure_out_of_bounds(name, field, bad, good, says):
    found = alarms(rows(20, **{field: bad}))
    assert list(found) == [name] and says in found[name]
    assert "try" in found[name] or "train" in found[name]
    assert alarms(rows(20, **{field: good})) == {}


def test_a_low_entropy_may_double():
    low = [HEALTHY | {"entropy": 0.05}] * 20 + [HEALTHY | {"entropy": 0.4}] * 10
    assert alarms(low) == {}


def test_truncation_that_was_there_from_the_start_is_no_rise():
    assert alarms([HEALTHY | {"truncated": 0.4}] * 40) == {}


def test_one_impossible_token_is_no_explosion_of_the_kl():
    spike = [HEALTHY] * 19 + [HEALTHY | {"kl": 1e6}]
    assert alarms(spike) == {}


def test_a_reward_that_halves_within_fifty_steps():
    (text,) = alarms(rows(60, reward=0.24)).values()
    assert "from 0.50 to 0.24 over 50 steps" in text
    assert alarms(rows(60, reward=0.26)) == {}
    assert alarms(rows(59, reward=0.0)) == {}


def test_a_negative_reward_that_falls_further():
    def fall(to):
        low = [HEALTHY | {"reward": -0.1}] * 50
        return alarms([*low, *[HEALTHY | {"reward": to}] * 10])

    assert "from -0.10 to -0.31 over 50 steps" in fall(-0.31)["reward"]
    assert fall(-0.29) == fall(0.2) == {}


def test_twenty_steps_without_signal():
    silent = HEALTHY | {"zero_variance_groups": 0.75, "gated_groups": 0.25}
    assert list(alarms([HEALTHY, *[silent] * 20])) == ["signal"]
    assert "for 20 steps no group" in alarms([silent] * 20)["signal"]
    assert alarms([silent] * 19) == {}
    assert alarms([*[silent] * 12, HEALTHY, *[silent] * 12]) == {}


def test_all_episodes_of_a_step_broke():
    broken = HEALTHY | {"faults": 1.0}
    assert list(alarms([broken])) == ["broken"]
    assert alarms([broken, HEALTHY]) == alarms([HEALTHY | {"faults": 0.9}]) == {}


def test_an_alarm_speaks_once_in_a_stage_however_it_flickers():
    bad, history, said = HEALTHY | {"malformed": 0.9}, [], []
    for row in [*[HEALTHY] * 10, *[bad] * 10, *[HEALTHY] * 20, *[bad] * 10]:
        history.append(dict(row))
        if raised := new_alarms(history):
            history[-1]["alarms"] = raised  # as RLVR writes it
            said.append((len(history), *raised))
    # From the fifth bad one of ten: mean 0.5, then 0.58.
    assert said == [(16, "malformed")]
    # A resumed run reads the same rows; another alarm is still free to speak.
    worse = [*history, *[HEALTHY | {"gave_up": 1.0, "malformed": 1.0}] * 10]
    assert list(new_alarms(worse)) == ["gave_up"]
