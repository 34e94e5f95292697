"""The prompt: the text before the first state. Needs no tokenizer."""

import re
from collections.abc import Callable, Sequence

from repair.env.tools import FENCE
from repair.tasks import Task

COMMANDS = """\
### ADDL n >>>text    insert text as a new line before line n
### REPL n >>>text    replace line n by text
### DELL n    delete line n
### REPW n >>>old >>>new    replace every old on line n by new
### EXIT    finish, once the tests pass"""

# Instructions by mode; the rest of the prompt is the same.
_TELL = {
    "coe": (
        "You are an expert Python programmer. The program below is faulty. Repair"
        " every mistake in it, only through these line-editor commands, one per"
        " turn:\n" + COMMANDS + "\nThe text after >>> is taken verbatim, so mind the"
        " indentation. After each command you see the numbered program and what the"
        " tests say; nothing after *** means that all tests pass.\n"
    ),
    "direct": (
        "You are an expert Python programmer. The program below is faulty; after ***"
        " stands what its tests say. Answer with the whole repaired program and nothing"
        " else.\n"
    ),
    "cot": (
        "You are an expert Python programmer. The program below is faulty; after ***"
        " stands what its tests say. Think about what is wrong, then write the whole"
        " repaired program between two lines of ```.\n"
    ),
}
_FULL = "{tell}Task: {text}\nTests:\n{tests}\nProgram:\n"
PROMPTS = {
    "full": _FULL,
    # As messages, by the chat template of the model (`repair.text.chat`).
    "chat": _FULL,
    # Instructions that never change teach a model trained from scratch nothing.
    "short": "{text}\n{tests}\n",
}
# A style by name, or a function of the caller's.
Prompt = str | Callable[[Task], str]


def render_prompt(task: Task, style: Prompt, mode: str = "coe") -> str:
    """Return the text before the first state: a task and its shown tests."""
    if callable(style):
        return style(task)
    tests = "\n".join(task.test_list)
    if task.test_setup_code and style != "short":
        tests = f"{task.test_setup_code}\n{tests}"
    # Not str.format, and in one pass: a task's text may contain these very fields.
    values = {"{text}": task.text, "{tests}": tests, "{tell}": _TELL[mode]}
    return re.sub(r"\{(text|tests|tell)\}", lambda m: values[m[0]], PROMPTS[style])


def render_examples(examples: Sequence[Task], task: Task) -> str:
    """Return tasks with their programs, then one task without."""
    parts = [f"{_render_example(e)}{e.code}\n{FENCE}\n\n" for e in examples]
    return "".join([*parts, _render_example(task)])


def _render_example(task: Task) -> str:
    tests = "\n".join(filter(None, (task.test_setup_code, *task.test_list)))
    return f"Task: {task.text}\nTests:\n{tests}\nProgram:\n{FENCE}\n"
