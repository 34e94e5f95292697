"""Reasoning traces to learn to think from: JSON lines in s1K's format.

The paper finetunes its models on s1K (Muennighoff et al. 2025, arXiv 2501.19393) before
they repair in words. Three fields of each row are read: `question`,
`thinking_trajectories` (a list, of which the first counts) and `attempt`, the answer
that ends the thinking. Their subject plays no part: they teach a form.
"""

import dataclasses

from repair.errors import UserError
from repair.tasks.rows import clean, read_objects


@dataclasses.dataclass(frozen=True)
class Trace:
    """One question with its answer in words.

    Attributes:
      question: The question.
      answer: The thought, a newline, and the conclusion.
    """

    question: str
    answer: str


def read_traces(path) -> list[Trace]:
    """Read the traces of a file, in its order.

    Raises:
      UserError: The file is missing or empty, or a row is malformed; the message holds
        the file, the line and the field.
    """
    traces = []
    for row in read_objects(path):
        thoughts = row.texts("thinking_trajectories")
        if not thoughts:
            raise row.error("thinking_trajectories", "is empty, expected one text")
        question, attempt = row.text("question"), row.text("attempt")
        answer = f"{clean(thoughts[0]).strip()}\n{clean(attempt).strip()}"
        traces.append(Trace(clean(question).strip(), answer))
    if not traces:
        raise UserError(f"{path} holds no traces; expected one JSON object a line")
    return traces
