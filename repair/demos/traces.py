"""Reasoning traces to learn to think from: JSON lines in s1K's format.

s1K (Muennighoff et al. 2025, arXiv 2501.19393) is what the paper finetunes its models
on before they repair in words. Of each row three fields are read: `question`,
`thinking_trajectories` (a list, of which the first counts) and `attempt`, the answer
that ends the thinking. What they are about is no matter: they teach a form.
"""

import dataclasses

from repair.errors import UserError
from repair.tasks.rows import Row, clean, read_lines


@dataclasses.dataclass(frozen=True)
class Trace:
    """One question with its answer in words.

    Attributes:
      question: What is asked.
      answer: The thought, a newline, and what it comes to.
    """

    question: str
    answer: str


def read_traces(path) -> list[Trace]:
    """The traces of a file, in its order.

    Raises:
      UserError: The file is missing or empty, or a row is malformed; the message holds
        the file, the line and the field.
    """
    traces = []
    for where, value in read_lines(path):
        if not isinstance(value, dict):
            raise UserError(
                f"{where}: expected a JSON object, found {type(value).__name__}"
            )
        row = Row(where, value)
        thoughts = row.texts("thinking_trajectories")
        if not thoughts:
            raise row.error("thinking_trajectories", "is empty, expected one text")
        question, attempt = row.text("question"), row.text("attempt")
        answer = f"{clean(thoughts[0]).strip()}\n{clean(attempt).strip()}"
        traces.append(Trace(clean(question).strip(), answer))
    if not traces:
        raise UserError(f"{path} holds no traces; expected one JSON object a line")
    return traces
