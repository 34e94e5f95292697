"""Speed of experience by mode: episodes and verified rewards a second.

python -m experiments.experience [--folder=runs/claims] [--rounds=5]

Takes the policies of `experiments.claims` after SFT, seed 0 of each mode, and collects
the rollouts of RLVR's batches: the modes take turns, round by round, after one that
compiles. A verified reward is a turn with a verdict of the sandbox. Prints one table
with the spread over rounds and writes FOLDER/experience.json. Needs an idle machine.
"""

import argparse
import contextlib
import json
import pathlib
import time

from experiments.claims import MODES
from experiments.studies import print_table, spread
from repair.rollout.collect import RolloutSeed, collect_rollouts
from repair.rollout.sampling import Sampling
from repair.training.curriculum import Curriculum
from repair.training.policy import Policy, load_policy
from repair.training.rollout_metrics import rollout_metrics


def collect(policy: Policy, bugs, step: int) -> dict[str, float]:
    """Collect one batch of RLVR; return its rates a second."""
    settings = policy.config.rlvr
    seed = policy.config.seed
    chosen = Curriculum(lambda epoch: bugs, settings.problems, seed).pick(step)
    started = time.perf_counter()
    rollouts = collect_rollouts(
        policy.engine,
        policy.params,
        chosen,
        settings.samples,
        Sampling(settings.temperature),
        RolloutSeed(policy.config.seed, step + 1),
    )
    seconds = time.perf_counter() - started
    told = rollout_metrics(rollouts)
    return {
        "episodes a second": len(rollouts) / seconds,
        "verified rewards a second": told["turns"] * len(rollouts) / seconds,
        "sampled tokens a second": told["sampled_tokens"] / seconds,
        "solved episodes a second": told["solved"] * len(rollouts) / seconds,
    }


def measure(folder: pathlib.Path, rounds: int) -> dict[str, dict]:
    """Return, by figure and mode, the values by round, their mean and spread."""
    with contextlib.ExitStack() as stack:
        policies = {}
        for mode in MODES:
            checkpoint = folder / f"{mode}0" / "checkpoints" / "sft"
            policy = load_policy(checkpoint)
            stack.enter_context(policy.verifier)
            tasks, _ = policy.task_set.tasks()
            count = policy.config.rlvr.problems * (rounds + 1)
            bugs = policy.task_set.bugs(tasks[:count], policy.verifier, seed=1)
            temperature = policy.config.rlvr.temperature
            policy.engine.warm_up(policy.params, Sampling(temperature))
            policies[mode] = policy, bugs
        found = {mode: [] for mode in MODES}
        for step in range(rounds + 1):
            for mode, (policy, bugs) in policies.items():
                found[mode].append(collect(policy, bugs, step))
    return {
        name: {
            mode: spread([values[name] for values in found[mode][1:]]) for mode in MODES
        }
        for name in found["coe"][0]
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    folder = pathlib.Path("runs/claims")
    parser.add_argument("--folder", type=pathlib.Path, default=folder)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    for mode in MODES:
        if not (args.folder / f"{mode}0" / "checkpoints" / "sft").is_dir():
            parser.error(
                f"{args.folder} has no {mode}0; run first: python -m experiments.claims"
                f" --part={mode}/0 --folder={args.folder}"
            )
    rows = measure(args.folder, args.rounds)
    print_table(rows, MODES)
    text = json.dumps(rows, indent=2)
    (args.folder / "experience.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
