"""Constrained commands: all that is sampled applies, and all that applies fits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from repair.env import editor
from repair.errors import UserError
from repair.model.grammar import Constraint
from repair.rollout.sampling import draw
from repair.text.grammar import MAX_CHARS, Grammar
from repair.text.tokenizer import Tokenizer, train_tokenizer

MAX_NEW = 32
PROGRAMS = [
    "def f(x):\n    return x + 1",
    "def g(values):\n    found = []\n\n    for v in values:\n        if v >>> 2:\n"
    "            found.append('a >>>b >> c')\n    return found  # caf\u00e9",
    "x",
    "",
    "\n\n",
    "\n".join(f"line_{i} = {i} ** 2" for i in range(23)),
    "y = '" + "".join(map(str, range(MAX_CHARS))) + "'",
    "  >>> >>>  >",
]
TEXTS = [
    *PROGRAMS,
    "### ADDL 3 >>>    return x\n### REPL 12 >>>y = 1\n### DELL 4\n### EXIT\n" * 9,
    "### REPW 7 >>>values >>>found\n### REPW 1 >>>f >>>g\n" * 9,
]


def byte_level(vocab_size, regex=True):
    """A tokenizer as large models have it, with merges across what ours keeps apart."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 5, trainer)
    return Tokenizer(tokenizer, "short")


@functools.cache
def codec_of(kind):
    if kind == "own":
        return Tokenizer(train_tokenizer(TEXTS * 5, 420), "short")
    if kind == "bytes":
        return byte_level(257)
    # Without a regex whole commands become tokens: numbers and separators with them.
    return byte_level(420, regex=kind == "regex")


def sample(tokenizer, grammar, programs, count, seed, temperature=3.0):
    """Commands drawn at random from what the automaton allows, as texts."""
    rows = [program for program in programs for _ in range(count)]
    lines = [editor.split_program(program) for program in rows]
    constraint = Constraint(grammar.tables, grammar.rows(lines))

    @jax.jit
    def run(constraint, keys_B, logits_CBV):
        def step(carry, logits_BV):
            place, i = carry
            allowed_BV = constraint.allowed(place, MAX_NEW - i)
            token_B, _ = draw(False, keys_B, i, logits_BV, allowed_BV)
            some_B = allowed_BV.any(axis=-1)
            return (constraint.advance(place, token_B), i + 1), (token_B, some_B)

        start = (constraint.start(), jnp.int32(0))
        return jax.lax.scan(step, start, logits_CBV)[1]

    V = len(grammar.tables.class_V)
    key = jax.random.key(seed)
    logits = temperature * jax.random.normal(key, (MAX_NEW, len(rows), V))
    # Texts and old texts would end soon if every token were as likely.
    tokens_CB, some_CB = run(constraint, jax.random.split(key, len(rows)), logits)
    commands = []
    for row in range(len(rows)):
        ids = np.asarray(tokens_CB)[:, row].tolist()
        ends = [i for i, token in enumerate(ids) if tokenizer.stop_V[token]]
        ids = ids[: ends[0] + 1] if ends else ids
        text = tokenizer.decode(ids)
        assert np.asarray(some_CB)[: len(ids), row].all(), text
        commands.append(tokenizer.command_text(ids))
    return list(zip(rows, commands, strict=True))


@pytest.mark.parametrize("kind", ["own", "regex", "whole", "bytes"])
def test_whatever_is_sampled_applies(kind):
    tokenizer = codec_of(kind)
    grammar = Grammar(tokenizer, tokenizer.vocab_size + 3, MAX_NEW)
    verbs, olds = set(), 0
    for seed in range(3):
        for program, command in sample(tokenizer, grammar, PROGRAMS, 60, seed):
            parsed = editor.parse(command)
            editor.apply(editor.split_program(program), parsed)
            verbs.add(type(parsed).__name__)
            olds += isinstance(parsed, editor.ReplaceWord) and len(parsed.old) > 1
    assert verbs == {"AddLine", "ReplaceLine", "DeleteLine", "ReplaceWord", "Exit"}
    assert olds > 10


def accepts(grammar, tokenizer, program, ids):
    """Whether the automaton allows these tokens, one after another."""
    rows = grammar.rows([editor.split_program(program)])
    constraint = Constraint(grammar.tables, rows)
    place = constraint.start()
    for i, token in enumerate(ids):
        if not constraint.allowed(place, MAX_NEW - i)[0, token]:
            return False
        place = constraint.advance(place, jnp.array([token]))
    return True


@pytest.mark.parametrize("kind", ["own", "regex", "bytes"])
@pytest.mark.parametrize(
    ("program", "command", "fits"),
    [
        (0, "### EXIT\n", True),
        (0, "### DELL 2\n", True),
        (0, "### DELL 3\n", False),
        (0, "### DELL 0\n", False),
        (0, "### DELL 02\n", False),
        (0, "### ADDL 3 >>>\n", True),
        (0, "### ADDL 4 >>>x\n", False),
        (0, "### REPL 3 >>>x\n", False),
        (0, "### REPL 1 >>>    caf\u00e9 >>>\n", True),
        (0, "### REPW 2 >>>x >>>y\n", True),
        (0, "### REPW 2 >>>+ 1 >>>\n", True),
        (0, "### REPW 2 >>>+ 2 >>>y\n", False),
        (0, "### REPW 1 >>>return >>>y\n", False),
        (0, "### REPW 2 >>> >>>y\n", False),
        (1, "### REPW 6 >>>a >>>c\n", True),
        (1, "### REPW 6 >>>b >> c >>>d\n", True),
        (1, "### REPW 3 >>>x >>>d\n", False),
        (1, "### REPW 5 >>>v >>> 2 >>>d\n", True),
        (3, "### ADDL 1 >>>x\n", True),
        (3, "### DELL 1\n", False),
        (3, "### REPL 1 >>>x\n", False),
        (5, "### REPW 17 >>>16 >>>17\n", True),
        (5, "### REPL 23 >>>x\n", True),
        (5, "### REPL 24 >>>x\n", False),
        (7, "### REPW 1 >>> > >>>x\n", True),
        (7, "### REPW 1 >>> >  >>>x\n", False),
        (7, "### REPW 1 >>>>>  >>>x\n", True),
        (0, "## EXIT\n", False),
        (0, "### EXIT \n", False),
        (0, "\n", False),
    ],
)
def test_cases_by_hand(kind, program, command, fits):
    tokenizer = codec_of(kind)
    grammar = grammar_of(kind)
    assert (
        accepts(grammar, tokenizer, PROGRAMS[program], tokenizer.encode(command))
        == fits
    )


@functools.cache
def grammar_of(kind):
    return Grammar(codec_of(kind), codec_of(kind).vocab_size, MAX_NEW)


def test_specials_are_never_allowed():
    tokenizer = codec_of("regex")
    special = tokenizer.backend.token_to_id("<s>")
    grammar = grammar_of("regex")
    constraint = Constraint(grammar.tables, grammar.rows([["x"]]))
    place = constraint.start()
    for token in [*tokenizer.encode("### ADDL 1 >>>x"), None]:
        assert not constraint.allowed(place, MAX_NEW)[0, special]
        if token is not None:
            place = constraint.advance(place, jnp.array([token]))


def test_an_old_text_is_left_before_the_room_ends():
    """With two tokens left, only what still gets to the second text is allowed."""
    tokenizer = codec_of("own")
    grammar = grammar_of("own")
    constraint = Constraint(grammar.tables, grammar.rows([["x + x + x"]]))
    place = constraint.start()
    for token in tokenizer.encode("### REPW 1 >>>x"):
        place = constraint.advance(place, jnp.array([token]))
    (plus,) = tokenizer.encode(" +")
    (separator,) = tokenizer.encode(" >>>")
    for left, goes_on in ((2, True), (1, False)):
        allowed = constraint.allowed(place, left)[0]
        assert bool(allowed[plus]) == goes_on and bool(allowed[separator])


def test_short_commands_are_refused():
    with pytest.raises(UserError, match="text.max_command is 8"):
        Grammar(codec_of("own"), 500, 8)
