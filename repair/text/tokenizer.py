"""The only place where text becomes token ids.

SFT, rollouts and evaluation all encode through `Tokenizer`, one call per segment
(prompt, state, command), so that a context is the same ids however it came about:
the ids of a segment never depend on its neighbours.
"""

import copy
import json
import pathlib
from collections.abc import Sequence

import numpy as np
import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

from repair.env.tools import FENCE
from repair.errors import UserError
from repair.tasks import Task
from repair.text.prompts import Prompt, render_examples, render_prompt

# A line's number as states show it, a word with its leading blank or underscore, one
# digit, a run of blanks (code is indented by runs), a run of punctuation, or one
# newline. Newlines stand alone so that a command ends in exactly one token; digits
# elsewhere stand alone so that constants never seen in training still have familiar
# tokens.
_PIECES = (
    r"L [0-9]+(?= )|\n|[ _]?[A-Za-z]+|[ _]?[0-9]| +(?=[ ])"
    r"|[ ]?[^\sA-Za-z0-9_]+|\s|_"
)

# What goes with a tokenizer when it is copied, where it is there.
_BESIDE = ("special_tokens_map.json", "chat_template.jinja", "generation_config.json")


def train_tokenizer(
    texts, vocab_size: int, specials=("<pad>",)
) -> tokenizers.Tokenizer:
    """Trains byte-level BPE on an iterable of texts.

    Any text can be encoded, since all 256 bytes are in the vocabulary; no token but
    the newline itself contains a newline.

    Raises:
      UserError: The vocabulary is too small for the bytes and specials.
    """
    if vocab_size < 257:
        raise UserError(
            f"model.vocab_size is {vocab_size}; byte-level BPE needs at least 257"
        )
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
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
    r"""A tokenizer, a prompt style and a mode: encodes segments, decodes commands.

    A command of the editor ("coe") is one line and ends with a newline; an answer in
    one piece has many and ends with a token of its own.

    Attributes:
      vocab_size: V, the number of ids that the tokenizer can give.
      stop_V: Bool, true for ids that end a command: those whose text holds a newline,
        or the one that ends an answer.
      end_ids: What the host puts behind a command that was cut.
      newline_id: The id of "\n" alone.
      bos_ids: What every context starts with; empty if the tokenizer has no BOS.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        prompt: Prompt,
        bos_token: str | None = None,
        *,
        mode: str = "coe",
        end_token: str | None = None,
    ):
        self.backend = backend
        self.prompt = prompt
        self.mode = mode
        self._end_token = end_token
        self._end_id = backend.token_to_id(end_token) if end_token else None
        self._examples: tuple[Task, ...] = ()
        self.vocab_size = backend.get_vocab_size(with_added_tokens=True)
        self.bos_ids = [backend.token_to_id(bos_token)] if bos_token else []
        newline = self.encode("\n")
        if len(newline) != 1 or self.decode(newline) != "\n":
            raise UserError(
                f"the tokenizer writes a newline as {len(newline)} tokens that read"
                f" {self.decode(newline)!r}; commands end in one newline token, so"
                " choose a tokenizer that has it"
            )
        self.newline_id = newline[0]
        self.end_ids = [self.newline_id]
        if mode != "coe":
            if end_token is None:
                raise UserError(
                    f"mode {mode!r} needs a tokenizer with a token for the end of a"
                    " text (eos_token in tokenizer_config.json)"
                )
            self.end_ids = [backend.token_to_id(end_token)]
            self.stop_V = np.arange(self.vocab_size) == self.end_ids[0]
            return
        texts = [self.decode([i]) for i in range(self.vocab_size)]
        self.stop_V = np.array(["\n" in text for text in texts])

    def with_examples(self, examples: Sequence[Task]) -> "Tokenizer":
        """A tokenizer for writing whole programs after examples, rather than repairing.

        What it encodes as a prompt ends where a program is to begin, and an answer ends
        with a fence or with the tokenizer's own end: this is how any model can be
        asked, whatever it was trained for.
        """
        other = copy.copy(self)
        other.mode, other._examples = "write", tuple(examples)
        texts = [self.decode([i]) for i in range(self.vocab_size)]
        other.stop_V = np.array([FENCE in text for text in texts])
        if self._end_token:
            other.stop_V[self.backend.token_to_id(self._end_token)] = True
        other.end_ids = []
        return other

    def stops(self, vocab_size: int) -> np.ndarray:
        """`stop_V` for a model that embeds more ids than the tokenizer has."""
        stop_V = np.zeros(vocab_size, bool)
        stop_V[: self.vocab_size] = self.stop_V
        return stop_V

    def ends(self, token: int) -> bool:
        """Whether an id ends a command; ids that only the model knows do not."""
        return token < self.vocab_size and bool(self.stop_V[token])

    def encode(self, text: str) -> list[int]:
        """Ids of one segment, no specials added."""
        return self.backend.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """As `encode`, many at once (in parallel)."""
        encodings = self.backend.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids) -> str:
        """Text of ids, specials included so that a sampled special is seen."""
        return self.backend.decode(list(ids), skip_special_tokens=False)

    def prompt_ids(self, task: Task) -> list[int]:
        """The start of a context, up to the first state."""
        if self.mode == "write":
            prompt = render_examples(self._examples, task)
        else:
            prompt = render_prompt(task, self.prompt, self.mode)
        return self.bos_ids + self.encode(prompt)

    def command_ids(self, texts: list[str]) -> list[list[int]]:
        """Commands as a policy would write them, with what ends them."""
        if self.mode == "coe":
            return self.encode_batch([text + "\n" for text in texts])
        return [ids + self.end_ids for ids in self.encode_batch(texts)]

    def command_text(self, ids) -> str:
        """The command in sampled ids: their text up to what ends it."""
        if self.mode == "coe":
            return self.decode(ids).split("\n", 1)[0]
        if self.mode == "write":
            ids = [i for i in ids if i != self._end_id]
            return self.decode(ids).split(FENCE, 1)[0]
        ids = list(ids)
        if self.end_ids[0] in ids:
            ids = ids[: ids.index(self.end_ids[0])]
        return self.decode(ids)

    def save(self, folder) -> None:
        """Writes tokenizer.json and tokenizer_config.json for transformers."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.backend.save(str(folder / "tokenizer.json"))
        # transformers 4 rejects the class name that version 5 writes; both read this.
        settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
        if self.backend.token_to_id("<pad>") is not None:
            settings["pad_token"] = "<pad>"
        if self.bos_ids:
            settings["bos_token"] = self.backend.id_to_token(self.bos_ids[0])
        if self._end_token:
            settings["eos_token"] = self._end_token
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps(settings, indent=2) + "\n")


def copy_tokenizer(source, folder) -> None:
    """Copies a tokenizer with its settings and chat template, as transformers reads it.

    Raises:
      UserError: The source has none that can be read.
    """
    source, folder = pathlib.Path(source), pathlib.Path(folder)
    tokenizer, settings = _read_tokenizer(source)
    folder.mkdir(parents=True, exist_ok=True)
    for name in _BESIDE:
        if (source / name).is_file():
            (folder / name).write_bytes((source / name).read_bytes())
    # transformers 4 rejects the class name that version 5 writes; both read this.
    settings |= {"tokenizer_class": "PreTrainedTokenizerFast"}
    text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
    # Last: once it is there, the tokenizer is taken to be whole.
    tokenizer.save(str(folder / "tokenizer.json"))


def load_tokenizer(folder, prompt: Prompt, mode: str = "coe") -> Tokenizer:
    """Opens a folder with a `tokenizer.json` in Hugging Face's format.

    Raises:
      UserError: The folder or its file is missing or unreadable.
    """
    folder = pathlib.Path(folder)
    backend, settings = _read_tokenizer(folder)
    bos, end = _named_tokens(folder, backend, settings)
    return Tokenizer(backend, prompt, bos, mode=mode, end_token=end)


def special_ids(folder) -> dict:
    """bos_token_id and eos_token_id of a folder's tokenizer, None where it has none.

    Raises:
      UserError: The folder or its file is missing or unreadable.
    """
    folder = pathlib.Path(folder)
    tokenizer, settings = _read_tokenizer(folder)
    bos, end = (
        None if token is None else tokenizer.token_to_id(token)
        for token in _named_tokens(folder, tokenizer, settings)
    )
    return {"bos_token_id": bos, "eos_token_id": end}


def _named_tokens(folder, tokenizer, settings) -> list[str | None]:
    """The tokens that settings name for the start and the end of a text."""
    named = []
    for name in ("bos_token", "eos_token"):
        token = settings.get(name) or None
        if isinstance(token, dict):  # transformers 4 writes an AddedToken here
            token = token["content"]
        if token is not None and tokenizer.token_to_id(token) is None:
            raise UserError(
                f"{folder / 'tokenizer_config.json'} names the {name} {token!r}, which"
                f" {folder / 'tokenizer.json'} does not have; save the tokenizer anew"
            )
        named.append(token)
    return named


def _read_tokenizer(folder) -> tuple[tokenizers.Tokenizer, dict]:
    """The tokenizer and the settings of a folder."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise UserError(
            f"no tokenizer.json in {folder}; give a folder that holds one, as saved by"
            " tokenizers or transformers (save_pretrained)"
        )
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception for any bad file
        raise UserError(f"{path} is no readable tokenizer file: {error}") from error
    settings_path = folder / "tokenizer_config.json"
    try:
        there = settings_path.is_file()
        text = settings_path.read_text(encoding="utf-8") if there else "{}"
        settings = json.loads(text)
    except ValueError as error:
        raise UserError(
            f"{settings_path} is no JSON ({error}); save the tokenizer anew"
        ) from error
    return tokenizer, settings
