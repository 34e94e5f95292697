"""The environment for TRL: one step of a real GRPOTrainer on a tiny torch model."""

import json

import pytest

pytest.importorskip("trl", reason="needs pip install -e '.[trl]'")

import torch
from scripted import EXIT, MAX_TURNS, SENSELESS, play, repair, scripts
from tiny_torch import make_tokenizer, tiny_config
from transformers import LlamaForCausalLM
from trl import GRPOConfig, GRPOTrainer

from repair.env import Environment
from repair.errors import UserError
from repair.integrations.problems import Problems
from repair.integrations.trl_env import RepairEnvironment, make_dataset
from repair.sandbox import Sandbox, SandboxError

pytestmark = pytest.mark.filterwarnings("ignore:You are using 'environment_factory'")


@pytest.fixture(scope="module")
def tokenizer(problems):
    return make_tokenizer([problems.prompt(bug) for bug in problems.bugs])


def call(command):
    """Return a reply that calls the tool."""
    content = json.dumps({"name": "edit", "arguments": {"command": command}})
    return f"<tool_call>\n{content}\n</tool_call><|im_end|>"


class Scripted(LlamaForCausalLM):
    """A real model whose samples are written down: row i of a batch says scripts[i]."""

    def play(self, tokenizer, scripts):
        self.tokenizer, self.scripts = tokenizer, [list(s) for s in scripts]
        self.seen = [None] * len(scripts)

    def generate(self, input_ids, attention_mask, **_):
        contexts = [
            row[mask.bool()].tolist()
            for row, mask in zip(input_ids, attention_mask, strict=True)
        ]
        said = []
        for context in contexts:
            i = next(i for i, old in enumerate(self.seen) if self.goes_on(old, context))
            ids = self.tokenizer.encode(self.scripts[i].pop(0))
            self.seen[i] = [*context, *ids]
            said.append(torch.tensor(ids))
        replies = torch.nn.utils.rnn.pad_sequence(
            said, batch_first=True, padding_value=self.tokenizer.pad_token_id
        )
        return torch.cat([input_ids, replies], dim=1)

    def goes_on(self, old, context):
        """Return True if a context extends an old one, id by id."""
        return old is None or (len(context) > len(old) and context[: len(old)] == old)


def train(tmp_path, tokenizer, problems, scripts):
    """One step on the first bug; the trainer, its environments, the weights before."""
    torch.manual_seed(0)
    model = Scripted(tiny_config(tokenizer))
    model.play(tokenizer, scripts)
    made = []

    def factory():
        made.append(RepairEnvironment(problems))
        return made[-1]

    arguments = GRPOConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=len(scripts),
        num_generations=len(scripts),
        max_completion_length=4096,
        max_steps=1,
        logging_steps=1,
        learning_rate=0.01,
        lr_scheduler_type="constant",
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        bf16=False,
        shuffle_dataset=False,
        disable_tqdm=True,
    )
    trainer = GRPOTrainer(
        model=model,
        args=arguments,
        train_dataset=make_dataset(problems),
        processing_class=tokenizer,
        environment_factory=factory,
    )
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainer.train()
    return trainer, made, before


def test_a_step_of_grpo_plays_a_group_and_learns(tmp_path, tokenizer, problems):
    bug = problems.bugs[0]
    ends = ["solved", "slip", "exited_unsolved", "max_turns"]
    expected = [play(problems, bug, scripts(bug)[end])[1:] for end in ends]
    bye = "Done.<|im_end|>"
    said = [[*map(call, scripts(bug)[end]), bye] for end in ends]
    trainer, made, before = train(tmp_path, tokenizer, problems, said)

    assert [environment.turns for environment in made] == expected
    assert not any(trainer.model.scripts)  # all was said, each in its own episode
    sums = [sum(turn.reward for turn in turns) for turns in expected]
    assert len(set(sums)) == 4
    log = trainer.state.log_history[0]
    assert log["rewards/RepairEnvironment/mean"] == pytest.approx(sum(sums) / 4)
    assert log["reward"] == pytest.approx(sum(sums) / 4)
    assert log["tools/failure_frequency"] == 0
    # Four samples of one bug, whose states the model has read.
    for environment, ids in zip(made, trainer.model.seen, strict=True):
        text = tokenizer.decode(ids)
        assert problems.prompt(bug) in text
        for turn in environment.turns:
            assert turn.state_text.strip() in text
    moved = [
        name
        for name, parameter in trainer.model.named_parameters()
        if not torch.equal(parameter, before[name])
    ]
    assert len(moved) == len(before)


def test_equal_rewards_move_nothing(tmp_path, tokenizer, problems):
    """Show that rewards, and nothing else, moved the weights above."""
    said = [[call(EXIT), "Done.<|im_end|>"]] * 2
    trainer, _, before = train(tmp_path, tokenizer, problems, said)
    for name, parameter in trainer.model.named_parameters():
        assert torch.equal(parameter, before[name]), name


def test_a_broken_sandbox_is_no_reward(bugs):
    with Sandbox(workers=1, cache=False) as sandbox:
        environment = RepairEnvironment(Problems(bugs, lambda: Environment(sandbox)))
        environment.reset(bug_id=bugs[0].bug_id)
        environment.edit(SENSELESS)
    assert environment.edit(repair(bugs[0])[0]) == "The episode has ended.\n"
    assert environment.turns[-1].status == "fault"
    assert environment.get_reward() is None
    with pytest.raises(SandboxError, match="closed"):
        environment.reset(bug_id=bugs[0].bug_id)


def test_an_episode_that_nobody_ended_is_cut(problems):
    environment = RepairEnvironment(problems)
    bug = problems.bugs[0]
    environment.reset(bug_id=bug.bug_id, prompt="as TRL gives the whole row")
    environment.edit(repair(bug)[0])
    assert environment.get_reward() == 1 - 0.125 - 0.5
    assert environment.get_reward() == 1 - 0.125 - 0.5  # cut once
    assert environment.turns[-1].status == "truncated"
    # No command at all is a malformed one, and no EXIT.
    environment.reset(bug_id=bug.bug_id)
    assert environment.get_reward() == -0.5 - 0.125 - 0.5
    # What is no text is a malformed command too.
    environment.reset(bug_id=bug.bug_id)
    assert environment.edit(7).endswith("***\nmalformed: unknown command\n")
    # The last command of a cut episode counts, and nothing after it.
    environment.reset(bug_id=bug.bug_id)
    answers = [environment.edit(SENSELESS) for _ in range(MAX_TURNS - 1)]
    answers += [environment.edit(repair(bug)[0]) for _ in range(2)]
    assert [answer.endswith("ended.\n") for answer in answers] == [False] * 5 + [
        True
    ] * 2
    assert environment.get_reward() == -0.625 * 5 + 1 - 0.125 - 0.5
    with pytest.raises(UserError, match="no bug 'x'"):
        environment.reset(bug_id="x")
