"""Commands for a bug, and what the environment itself makes of them."""

from repair.demos.edit_script import top_down
from repair.env.editor import split_program

EXIT = "### EXIT"
SENSELESS = "### DELL 999"
MAX_TURNS = 6


def repair(bug):
    """Commands that repair a bug and end the episode."""
    lines = split_program(bug.faulty_code), split_program(bug.task.code)
    return [*(command.format() for command in top_down(*lines)), EXIT]


def scripts(bug):
    """Commands by name: one episode of every end."""
    return {
        "solved": repair(bug),
        "slip": [SENSELESS, *repair(bug)],
        "exited_unsolved": [EXIT],
        "max_turns": [SENSELESS] * (MAX_TURNS - 1) + repair(bug)[:1],
    }


def play(problems, bug, commands):
    """Return the turns of an episode, by the environment itself."""
    environment = problems.make_environment()
    return [environment.reset(bug), *map(environment.step, commands)]
