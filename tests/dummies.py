"""Test dummies: small decoders, a tokenizer, bugs, and a sandbox that runs nothing."""

import functools

import jax
import numpy as np
import pytest

from repair.model.api import Model
from repair.model.llama import LlamaConfig
from repair.sandbox import Result
from repair.tasks import Bug, Task
from repair.text.tokenizer import Tokenizer, train_tokenizer

TASK = Task(1, "Add one.", "def f(x):\n    return x + 1", ("assert f(1) == 2",))
BUGS = [
    Bug(f"1/{n}", TASK, f"def f(x):\n    return x - {n}", corruptions=1)
    for n in range(1, 7)
]


@pytest.fixture(scope="session", autouse=True)
def compile_quickly():
    """Compile without optimizing: compiling is most of the time of these tests."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def check_batch(batch):
    """Assert the shapes and types of a packed batch, and that no padding has loss."""
    ints = ("tokens", "segments", "positions", "turns")
    optional = ("parents", "scored", "sources")
    for name, value in vars(batch).items():
        if name in optional:
            continue
        assert value.shape == batch.tokens.shape, name
        assert value.dtype == (np.int32 if name in ints else np.float32), name
    assert not batch.mask[batch.segments == 0].any()
    # Nothing predicts a first token.
    assert not batch.mask[batch.positions == 0].any()


def unpacked(batch, name):
    """Return {ids: values of a field} of the episodes, each behind its prefix."""
    found = {}
    for r, segments in enumerate(batch.segments):
        parents = batch.parents[r]
        prefixes = set(parents[parents != segments].tolist())
        for segment in set(segments[segments > 0].tolist()) - prefixes:
            parent = parents[segments == segment][0]
            at = np.isin(segments, (segment, parent))
            ids = tuple(batch.tokens[r, at].tolist())
            found[ids] = getattr(batch, name)[r, at]
    return found


class FakeSandbox:
    """Passes the programs that return x + 1; counts what it is asked."""

    def __init__(self):
        self.jobs = []

    def map(self, jobs):
        self.jobs += jobs
        return [self._result("return x + 1" in job[0]) for job in jobs]

    def allowances(self, references):
        return [1.0 for _ in references]

    def _result(self, passed):
        return Result(
            passed=passed,
            status="passed" if passed else "failed",
            feedback="" if passed else "f(1): expected 2",
            failed_tests=() if passed else (0,),
            seconds=0.0,
            trust="value",
        )


@pytest.fixture
def sandbox():
    return FakeSandbox()


@pytest.fixture(scope="session")
def bugs():
    return BUGS


@pytest.fixture(scope="session")
def tokenizer():
    text = "L 1 def f(x):\nL 2     return x - 1\n***\nf(1): expected 2\n"
    commands = "### REPL 2 >>>    return x + 1\n### DELL 2\n### EXIT\n"
    return Tokenizer(train_tokenizer([TASK.text, text, commands] * 3, 300), "short")


@pytest.fixture(scope="session")
def model(tokenizer):
    return Model(
        LlamaConfig(
            vocab_size=tokenizer.vocab_size,
            width=16,
            mlp_width=32,
            layers=1,
            heads=2,
            kv_heads=1,
            head_size=8,
        )
    )


@pytest.fixture(scope="session")
def params(model):
    """Four times the usual size, so that a wrong mask or position shows."""
    params = jax.jit(model.init_params)(jax.random.key(0))
    return jax.tree.map(lambda x: x * 4 if x.ndim > 1 else x, params)


@pytest.fixture(scope="package")
def make():
    """Return a function from fields to (Model, params): grouped queries, loud weights.

    Weights are four times their usual size, so that logits differ enough between
    tokens for a wrong mask or position to show.
    """

    @functools.cache
    def build(**fields):
        config = dict(
            vocab_size=51,
            width=24,
            mlp_width=40,
            layers=2,
            heads=4,
            kv_heads=2,
            head_size=8,
            query_block=8,
        )
        model = Model(LlamaConfig(**config | fields))
        params = jax.jit(model.init_params)(jax.random.key(0))
        return model, jax.tree.map(lambda x: x * 4 if x.ndim > 1 else x, params)

    return build
