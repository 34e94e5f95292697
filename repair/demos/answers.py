"""Demonstrations of answers in one piece, made from those of the editor."""

from collections.abc import Sequence

from repair.demos.make import Demo
from repair.env import editor
from repair.env.tools import FENCE, LineEditor, tool_of


def as_answers(demos: Sequence[Demo], mode: str, *, fenced: bool = False) -> list[Demo]:
    """Return demonstrations of the editor as demonstrations of one answer.

    The answer is the task's own program; the thought of "cot" words the edits.

    Args:
      demos: Demonstrations of the editor.
      mode: "coe" leaves them as they are.
      fenced: Put the program of "direct" between code fences, as chat models do; that
        of "cot" always stands between them.
    """
    if mode == "coe":
        return list(demos)
    tool = tool_of(mode)
    return [
        Demo(
            demo.bug,
            (_first_state(demo, tool),),
            (_answer(demo, mode, fenced),),
        )
        for demo in demos
    ]


def _first_state(demo: Demo, tool) -> str:
    shown = LineEditor(demo.bug.faulty_code).render()
    return tool(demo.bug.faulty_code).render() + demo.states[0].removeprefix(shown)


def _answer(demo: Demo, mode: str, fenced: bool) -> str:
    thoughts, code = list[str](), demo.bug.task.code
    if mode == "cot":
        thoughts = [_thought(editor.parse(command)) for command in demo.commands]
    elif not fenced:
        return code
    return "\n".join([*filter(None, thoughts), FENCE, code, FENCE])


def _thought(command: editor.Command) -> str:
    match command:
        case editor.AddLine(line, text):
            return f"Before line {line} this is missing: {text}"
        case editor.ReplaceLine(line, text):
            return f"Line {line} should be: {text}"
        case editor.DeleteLine(line):
            return f"Line {line} should not be there."
        case editor.ReplaceWord(line, old, new):
            return f"On line {line} it should be {new} and not {old}"
    return ""
