"""The one place that turns text into token ids.

SFT, rollouts and evaluation encode through `Tokenizer`, one call per segment (prompt,
state, command), so the ids of a segment never depend on its neighbours.
"""

import copy
import dataclasses
import itertools
import json
import os
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

from repair.demos.records import Demo
from repair.env.tools import FENCE
from repair.errors import UserError
from repair.tasks import Task
from repair.text.chat import Chat, read_chat
from repair.text.prompts import Prompt, render_examples, render_prompt

# Pieces that BPE never merges: the number of a line in a state, a newline (a command
# ends in exactly one token), a word with its leading space or underscore, one digit (so
# that unseen numbers have trained tokens), a run of spaces, a run of punctuation.
_PIECES = (
    r"L [0-9]+(?= )|\n|[ _]?[A-Za-z]+|[ _]?[0-9]| +(?=[ ])"
    r"|[ ]?[^\sA-Za-z0-9_]+|\s|_"
)


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, specials: Sequence[str] = ("<pad>",)
) -> tokenizers.Tokenizer:
    """Train byte-level BPE on texts.

    All 256 bytes are in the vocabulary, so any text can be encoded. Only the newline
    token contains a newline.
    """
    if vocab_size < 257:
        raise UserError(
            f"model.vocab_size is {vocab_size}; byte-level BPE needs at least 257"
        )
    tokenizer = tokenizers.Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(_PIECES), behavior="isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


class Tokenizer:
    r"""Encoder of prompts, states and commands in one prompt style and mode.

    A command of the editor (mode "coe") is one line and ends with a newline. A whole
    program ("direct", "cot") ends with an EOS token; one after examples ("write", which
    needs no training) with an EOS token or a code fence.

    Attributes:
      backend: The tokenizer of the `tokenizers` library.
      vocab_size: V, the number of its ids.
      newline_id: The id of "\n".
      bos_ids: Ids in front of every context; empty if the model's tokenizer adds none.
      eos_ids: Ids that end a text; training writes the first.
      stop_V: Mask of the ids that end a command in this mode.
      end_ids: Ids that the host appends to a command that was cut.
      shown: Text of worked examples that follows the head of every prompt.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        prompt: Prompt,
        *,
        mode: str = "coe",
        bos_ids: Sequence[int] = (),
        eos_ids: Sequence[int] = (),
        chat: Chat | None = None,
        examples: Sequence[Demo] = (),
    ):
        self.backend = backend
        self._chat = chat or Chat()
        self.prompt = prompt
        self.mode = mode
        self._examples: tuple[Task, ...] = ()
        self.vocab_size = V = backend.get_vocab_size(with_added_tokens=True)
        self.bos_ids = list(bos_ids)
        # A model may embed, and name, more ids than its tokenizer has.
        self.eos_ids = [i for i in dict.fromkeys(eos_ids) if i < V]
        newline = self.encode("\n")
        if len(newline) != 1 or self.decode(newline) != "\n":
            raise UserError(
                "a command ends in one newline token, but the tokenizer encodes a"
                f" newline as {newline}; choose another tokenizer"
            )
        self.newline_id = newline[0]
        if mode == "coe":
            self.end_ids = newline
            self.stop_V = self._containing("\n")
        elif not self.eos_ids:
            raise UserError(
                f"mode {mode!r} needs a tokenizer with a token for the end of a text"
                " (eos_token in tokenizer_config.json)"
            )
        else:
            self.end_ids = self.eos_ids[:1]
            self.stop_V = np.isin(np.arange(V), self.eos_ids)
            # An answer ends with the token that ends its message.
            middle = self._chat.middle.removeprefix(self.decode(self.end_ids))
            self._chat = dataclasses.replace(self._chat, middle=middle)
        self.shown = "".join(map(self._transcript, examples))

    def with_examples(self, examples: Sequence[Task]) -> "Tokenizer":
        """Return a tokenizer for writing whole programs after worked examples."""
        other = copy.copy(self)
        other.mode, other._examples, other.end_ids = "write", tuple(examples), []
        other.stop_V = self._containing(FENCE)
        other.stop_V[self.eos_ids] = True
        return other

    def stops(self, vocab_size: int) -> np.ndarray:
        """Return `stop_V` for a model that embeds more ids than the tokenizer has."""
        return np.pad(self.stop_V, (0, vocab_size - self.vocab_size))

    def ends(self, token: int) -> bool:
        """Return True for an id that ends a command."""
        return token < self.vocab_size and bool(self.stop_V[token])

    def encode(self, text: str) -> list[int]:
        """Return the ids of one segment, without special tokens."""
        return self.backend.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of many segments, encoded in parallel."""
        encodings = self.backend.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids, special tokens included."""
        return self.backend.decode(list(ids), skip_special_tokens=False)

    def prompt_ids(self, task: Task) -> list[int]:
        """Return the start of a context, up to the first state."""
        if self.mode == "write":
            prompt = render_examples(self._examples, task)
        else:
            text = render_prompt(task, self.prompt, self.mode)
            prompt = self._chat.head + self.shown + text
        return self.bos_ids + self.encode(prompt)

    def state_ids(self, text: str, first: bool) -> list[int]:
        """Return the ids of a state; the first of an episode follows the prompt."""
        return self.encode(self._chat.wrap(text, first))

    def state_ids_of(self, states: list[tuple[str, bool]]) -> list[list[int]]:
        """Return the ids of many states, each as (text, first)."""
        return self.encode_batch([self._chat.wrap(*state) for state in states])

    def command_ids(self, texts: list[str]) -> list[list[int]]:
        """Return commands as a policy writes them, each with its end."""
        if self.mode == "coe":
            return self.encode_batch([text + "\n" for text in texts])
        return [ids + self.end_ids for ids in self.encode_batch(texts)]

    def command_text(self, ids: Iterable[int]) -> str:
        """Return the text of sampled ids, up to the end of the command."""
        if self.mode == "coe":
            return self.decode(ids).split("\n", 1)[0]
        text = self.decode(itertools.takewhile(lambda i: i not in self.eos_ids, ids))
        return text.split(FENCE, 1)[0] if self.mode == "write" else text

    def save(self, folder) -> None:
        """Write a trained tokenizer as transformers loads it."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.backend.save(str(folder / "tokenizer.json"))
        # transformers 4 rejects the class name that version 5 writes; both read this.
        settings: dict[str, str | None] = {"tokenizer_class": "PreTrainedTokenizerFast"}
        if self.backend.token_to_id("<pad>") is not None:
            settings["pad_token"] = "<pad>"
        if self.eos_ids:
            settings["eos_token"] = self.backend.id_to_token(self.eos_ids[0])
        text = json.dumps(settings, indent=2) + "\n"
        (folder / "tokenizer_config.json").write_text(text)

    def _transcript(self, demo: Demo) -> str:
        """Return the text of a solved episode, up to where the next prompt begins."""
        text, end = "", self.decode(self.end_ids)
        for state, command in zip(demo.states, demo.commands, strict=True):
            text += self._chat.wrap(state, first=not text) + command + end
        prompt = render_prompt(demo.bug.task, self.prompt, self.mode)
        return prompt + text + self._chat.middle

    def _containing(self, text: str) -> np.ndarray:
        return np.array([text in self.decode([i]) for i in range(self.vocab_size)])


def load_tokenizer(
    folder, prompt: Prompt, mode: str = "coe", examples: Sequence[Demo] = ()
) -> Tokenizer:
    """Load a tokenizer as transformers reads it; see `Tokenizer`."""
    auto, eos_ids = read_tokenizer(folder)
    backend = auto.backend_tokenizer
    backend.no_truncation()  # which a tokenizer.json may ask for
    # A tokenizer may name a BOS token without adding it: only an encoded text tells.
    text = auto("a")["input_ids"]
    bos_ids = text[: text.index(backend.encode("a", add_special_tokens=False).ids[0])]
    chat = None
    if prompt == "chat":
        chat, bos_ids = read_chat(auto), []  # a template writes BOS itself
    return Tokenizer(
        backend,
        prompt,
        mode=mode,
        bos_ids=bos_ids,
        eos_ids=eos_ids,
        chat=chat,
        examples=examples,
    )


def read_tokenizer(folder):
    """Return transformers' tokenizer of a folder, and all EOS ids, its own first."""
    folder, api = pathlib.Path(folder), import_transformers()
    if not (folder / "tokenizer.json").is_file():
        raise UserError(
            f"no tokenizer.json in {folder}; give a folder that holds one, as saved by"
            " tokenizers or transformers (save_pretrained)"
        )
    configs = ("generation_config.json", "config.json")
    try:
        auto = api.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        eos_ids = [auto.eos_token_id]
        if found := [name for name in configs if (folder / name).is_file()]:
            config = api.GenerationConfig.from_pretrained(folder, found[0])
            eos_ids += np.ravel(config.eos_token_id).tolist()
    except Exception as error:  # tokenizers raises bare Exception for any bad file
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"the tokenizer in {folder} is unreadable ({reason}); save it again"
        ) from error
    return auto, [i for i in eos_ids if i is not None]


def import_transformers():
    """Import transformers, which takes a second, only where it is needed."""
    # Its advice to install PyTorch misleads: only tokenizers and configs are used.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    import transformers

    return transformers
