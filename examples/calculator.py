"""A second tool: a stack calculator, trained by the same run as the line editor.

  python -m examples.calculator --config=examples/calculator.py \
      --workdir=runs/calculator

The model sees an expression such as (3 - 7) * 5 and a stack that is empty at first.
It pushes digits and combines the two numbers on top, one command a turn, until the
stack holds just the expression's value; then it must EXIT. docs/your_own_tool.md
walks through this file. Hardware: 2 CPU cores.
"""

import ast
import operator
import random
import re

from absl import flags
from ml_collections import config_flags
from rich.console import Console

from configs import tiny
from repair import cli
from repair.demos import demonstrate
from repair.env import FunctionVerifier, MalformedCommand
from repair.errors import UserError
from repair.tasks import Bug, Task
from repair.training.config import read
from repair.training.run import run
from repair.training.tables import results_table

OPERATIONS = {"ADD": operator.add, "SUB": operator.sub, "MUL": operator.mul}
VERBS = {ast.Add: "ADD", ast.Sub: "SUB", ast.Mult: "MUL"}
MOST = 100_000  # expressions; far more would be long in coming, and there is an end


class StackCalculator:
    """A stack of integers, its top at the right; the state is what it shows."""

    def __init__(self, state: str):
        self._stack = [int(number) for number in state.split()]

    @property
    def code(self) -> str:
        """The stack as text, which is what the verifier gets."""
        return " ".join(map(str, self._stack))

    def apply(self, command_text: str) -> bool:
        """PUSH with one digit, ADD, SUB, MUL, SWAP or EXIT; True for EXIT."""
        stack = self._stack
        if re.fullmatch("PUSH [0-9]", command_text):
            stack.append(int(command_text[-1]))
        elif command_text in ("SWAP", *OPERATIONS):
            if len(stack) < 2:  # before anything changes
                raise MalformedCommand("needs two numbers")
            a, b = stack[-2:]
            swapped = command_text == "SWAP"
            stack[-2:] = [b, a] if swapped else [OPERATIONS[command_text](a, b)]
        elif command_text != "EXIT":
            raise MalformedCommand("unknown command")
        return command_text == "EXIT"

    def render(self) -> str:
        """One line."""
        return f"{self.code}\n"


def check(state: str, test: str) -> str:
    """Compare the state with the one stack that is right; return "" if it is."""
    return "" if state == test else "not yet"


def expression(rng: random.Random, operators: int) -> ast.expr:
    """Return a random tree over digits with so many operators."""
    if not operators:
        return ast.Constant(rng.randint(1, 9))
    left = rng.randrange(operators)
    verb = rng.choice(list(VERBS))()
    before, behind = expression(rng, left), expression(rng, operators - 1 - left)
    return ast.BinOp(before, verb, behind)


def oracle(node: ast.expr) -> list[str]:
    """Return the commands that compute a tree: its postfix order."""
    if isinstance(node, ast.Constant):
        return [f"PUSH {node.value}"]
    return oracle(node.left) + oracle(node.right) + [VERBS[type(node.op)]]


class Calculator:
    """The task set of the calculator; see `repair.training.task_set`."""

    name = "calculator"
    make_tool = StackCalculator

    def __init__(self, config):
        self.config = config

    def open_verifier(self) -> FunctionVerifier:
        """No program runs, so no sandbox is needed."""
        return FunctionVerifier(check)

    def prompt(self, task: Task) -> str:
        """Return the expression; the tests hold its value and are not shown."""
        return f"{task.text}\n"

    def tasks(self) -> tuple[list[Task], list[Task]]:
        """Expressions to train on and others to hold out, none of them twice."""
        c, rng, found = self.config, random.Random(self.config.seed), {}
        held = c.tasks.eval_count
        if held + c.tasks.train_count > MOST:
            raise UserError(f"config: tasks.train_count may be {MOST - held} at most")
        while len(found) < held + c.tasks.train_count:
            text = ast.unparse(expression(rng, rng.randint(2, 3)))
            value = str(eval(text))  # our own text, never what a policy wrote
            if len(value) > 1:  # else one PUSH would do
                found[text] = Task(text, text, text, (value,))
        tasks = list(found.values())
        return tasks[held:], tasks[:held]

    def bugs(self, tasks, verifier, seed) -> list[Bug]:
        """Every episode starts from an empty stack; operators say how hard it is."""
        return [Bug(t.text, t, "", len(re.findall(" [-+*] ", t.text))) for t in tasks]

    def demos(self, tasks, verifier):
        """Return the oracle's commands, played through the tool and the verifier."""
        said = [
            (bug, [*oracle(ast.parse(bug.task.text, mode="eval").body), "EXIT"])
            for bug in self.bugs(tasks, verifier, self.config.seed)
        ]
        return demonstrate(said, verifier, self.make_tool, self.config.text.max_turns)


def get_config():
    """configs/tiny.py with shorter texts and stages."""
    c = tiny.get_config()
    c.task_set = Calculator.name
    c.tasks.train_count, c.tasks.eval_count = 3000, 128
    c.text.max_turns, c.text.max_length, c.text.max_command = 10, 160, 8
    c.model.vocab_size, c.model.width, c.model.mlp_width = 320, 64, 192
    c.model.layers, c.model.head_size = 3, 16
    c.sampler.cohorts, c.sampler.lengths = 2, ()
    c.sft.steps, c.sft.rows, c.sft.row_length = 280, 4, 256
    c.rlvr.steps, c.rlvr.sampled_tokens = 60, 0
    c.rlvr.problems, c.rlvr.samples = 32, 8
    c.rlvr.rows, c.rlvr.row_length = 16, 256
    c.rlvr.optimizer.learning_rate = 5e-4
    c.eval.temperature = 1.0  # what RLVR trains is the policy at this temperature
    # Whatever ends unsolved costs the same, so that nothing but solving pays.
    c.rewards.exit_unsolved, c.rewards.malformed = -0.5, 0.0
    return c


def main():
    """Train, then print the table of results."""
    say = Console(highlight=False).print
    config = read(flags.FLAGS.config)
    say(results_table(run(config, flags.FLAGS.workdir, say, task_set=Calculator)))


def define():
    """Define the flags."""
    config_flags.DEFINE_config_file("config", None, "This file, or one of its kind.")
    flags.DEFINE_string("workdir", None, "Folder of the run; a run in it is resumed.")
    flags.mark_flags_as_required(["config", "workdir"])


if __name__ == "__main__":
    cli.run_main(main, define)
