"""Strict numerics for every test: what passes here passes for the reason it states."""

import importlib.util
import os
import pathlib

import pytest

# Warnings are errors but for these. Later lines win.
WARNINGS = (
    "error",
    # A reader of a torn checkpoint is closed while orbax's own thread still calls
    # into its event loop. Nothing is lost, and when it shows is up to the collector.
    "ignore:(?s)Exception ignored in.*Event loop is closed"
    ":pytest.PytestUnraisableExceptionWarning",
)

# Modules that take minutes. They start first, so that no worker ends long after the
# others; pytest-xdist would start modules of few tests last.
LONG = ("test_mesh.py", "test_kill.py", "test_launch.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONG)


# Compiling takes most of this suite's time. Without XLA's newer emitters of fusions,
# and in one part, programs of this size compile 2.5 times faster.
XLA_FLAGS = (
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)


def pytest_configure(config):
    # Tests compile the same small models over and over, in many processes. A folder for
    # each worker, since jax does not write these files whole or not at all.
    worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
    os.environ |= {
        "XLA_FLAGS": f"{XLA_FLAGS} {os.environ.get('XLA_FLAGS', '')}".strip(),
        "JAX_COMPILATION_CACHE_DIR": str(config.cache.mkdir("jax") / worker),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    for line in WARNINGS:
        config.addinivalue_line("filterwarnings", line)


@pytest.fixture(autouse=True)
def _strict_jax(request):
    """Full float32 matmuls, and no broadcast between arrays of unlike rank by chance.

    Tests of rooms that must not import jax are left without it.
    """
    room = request.path.relative_to(pathlib.Path(__file__).parent).parts[0]
    without = room in ("sandbox", "tasks", "env", "demos", "integrations")
    if without or importlib.util.find_spec("jax") is None:
        yield
        return
    import jax

    with (
        jax.default_matmul_precision("float32"),
        jax.numpy_rank_promotion("raise"),
    ):
        yield
