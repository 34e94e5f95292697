"""Settings of reinforcement learning."""

import dataclasses

from repair.errors import (
    MOST,
    MOST_SAMPLES,
    MOST_TEMPERATURE,
    expect,
    expect_between,
    expect_default,
)
from repair.tasks.bugs import check_bugs
from repair.training.advantages import AdvantageConfig
from repair.training.curriculum import RULES
from repair.training.losses import PolicyLossConfig
from repair.training.optimizer import OptimizerConfig


@dataclasses.dataclass(frozen=True)
class RlvrConfig:
    """Reinforcement learning.

    Attributes:
      steps: Most steps, each with rollouts of its own.
      sampled_tokens: The stage ends after the step in which so many tokens have been
        sampled, for comparisons at equal cost; 0 for after all steps.
      problems: P, bugs of a step.
      samples: C, rollouts of each bug.
      epochs: Passes over the rollouts of a step.
      minibatches: Updates in each pass, each on a part of the rollouts.
      curriculum: Share of solved episodes, over `curriculum_steps` steps, from which on
        programs with one more corruption come; 0 for all of them from the start.
      curriculum_steps: Steps that the share is averaged over.
      curriculum_by: "solve_rate": bugs that some and not all of their last episodes
        solved come four times as often; "" for all in turn.
      bugs: A file of faulty programs, as `repair.make_data --kind=faulty` writes it, in
        the place of corruptions of `tasks.train`; "" for corruptions.
      bugs_per_task: Corruptions of each task, fresh ones each epoch; the same ones
        with a curriculum, which goes by their history.
      temperature: Temperature of sampling, above 0; the policy that is trained and held
        to the reference is the one at this temperature.
      rows: Rows of a micro-batch.
      row_length: Tokens of a row; no episode may be longer.
      loss: The policy loss.
      advantages: The estimator.
      optimizer: Optimizer and schedule.
      trajectories_every: Steps between those whose episodes are written to the workdir;
        the first and the last are too. 0 for none at all.
      eval_every: Steps between evaluations on some held-out bugs; 0 for never.
      patience: The stage ends after so many evaluations without a better one; 0 for
        no such end.
    """

    steps: int = 200
    sampled_tokens: int = 0
    problems: int = 16
    samples: int = 4
    epochs: int = 1
    minibatches: int = 1
    curriculum: float = 0.0
    curriculum_steps: int = 10
    curriculum_by: str = ""
    bugs: str = ""
    bugs_per_task: int = 1
    temperature: float = 1.0
    rows: int = 16
    row_length: int = 2048
    loss: PolicyLossConfig = PolicyLossConfig()
    advantages: AdvantageConfig = AdvantageConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    trajectories_every: int = 10
    eval_every: int = 0
    patience: int = 0

    def __post_init__(self):
        ones = ("steps", "problems", "epochs", "minibatches", "rows", "row_length")
        expect_between(self, 1, MOST, *ones, "curriculum_steps")
        expect_between(self, 1, MOST_SAMPLES, "samples")
        expect_between(self, 0, MOST**2, "sampled_tokens")
        expect_between(self, 0, MOST, "trajectories_every", "eval_every", "patience")
        expect_between(self, 0, MOST_TEMPERATURE, "temperature", above=True)
        expect_between(self, 0, 1, "curriculum")
        used = self.curriculum > 0
        expect_default(self, "curriculum_steps", used, "with curriculum=0.0")
        expected = "0 with bugs of a file, whose corruptions are unknown"
        share = self.curriculum
        expect(not (share and self.bugs), "curriculum", share, expected)
        rule, known = self.curriculum_by, ", ".join(map(repr, RULES))
        expect(rule in RULES, "curriculum_by", rule, f"one of {known}")
        check_bugs(self.bugs, self.bugs_per_task)
