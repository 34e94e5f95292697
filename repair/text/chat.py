"""Contexts as a chat: the texts that a model's chat template puts around messages."""

import dataclasses

import jinja2

from repair.errors import UserError

# Marks that no template contains or changes.
_FIRST, _ANSWER, _SECOND = (f"@message {n}@" for n in (1, 2, 3))


@dataclasses.dataclass(frozen=True)
class Chat:
    """Texts around the messages of a user and a model.

    Attributes:
      head: In front of the first message of the user.
      tail: Between a message of the user and the answer to it.
      middle: Between an answer and the next message of the user.
    """

    head: str = ""
    tail: str = ""
    middle: str = ""

    def wrap(self, state: str, first: bool) -> str:
        """Return a state, which ends a message, with what stands around it.

        The first state ends the message that begins with the prompt.
        """
        return ("" if first else self.middle) + state + self.tail


def read_chat(auto) -> Chat:
    """Return the texts of the chat template of transformers' tokenizer.

    Raises:
      UserError: The tokenizer has no chat template, or one for other messages.
    """
    if not auto.chat_template:
        raise UserError(
            "text.prompt is 'chat', but the tokenizer has no chat template; use 'full'"
        )
    try:
        one = _render(auto, _FIRST)
        two = _render(auto, _FIRST, _ANSWER, _SECOND)
        head, tail = one.split(_FIRST)
        middle = two.split(_ANSWER)[1].split(_SECOND)[0]
    except (jinja2.TemplateError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            "text.prompt is 'chat', but the tokenizer's chat template takes no messages"
            f" of a user and an assistant ({reason}); use 'full'"
        ) from error
    return Chat(head, tail, middle)


def _render(auto, *messages: str) -> str:
    roles = ("user", "assistant")
    chat = [{"role": roles[i % 2], "content": text} for i, text in enumerate(messages)]
    return auto.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
