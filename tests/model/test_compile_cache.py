"""Compiled programs on disk, in processes of their own: jax reads its cache once."""

import subprocess
import sys

import jax
import pytest

from repair.errors import UserError
from repair.model.compile_cache import default_folder, keep_compiled

PROGRAM = """
import sys
import jax, jax.numpy as jnp
from repair.model import compile_cache
compile_cache._LEAST_SECONDS = 0.0
compile_cache.keep_compiled(sys.argv[1])
found = []
jax.monitoring.register_event_listener(lambda name, **_: found.append(name))
print(float(jax.jit(lambda x: jnp.tanh(x) @ x.T)(jnp.ones((8, 8)))[0, 0]))
print(sum(name.endswith("/cache_hits") for name in found) > 0)
"""


def run(folder, **environment):
    command = [sys.executable, "-c", PROGRAM, folder]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_a_second_process_compiles_nothing_and_says_nothing(tmp_path, monkeypatch):
    environment = {"JAX_PLATFORMS": "cpu", "PYTHONPATH": ":".join(sys.path)}
    first = run(str(tmp_path / "kept"), **environment)
    second = run(str(tmp_path / "kept"), **environment)
    assert (first[1], second[1]) == ("False", "True")
    assert first[0] == second[0]
    assert run("", **environment)[1] == "False"
    # The user's own comes first.
    own = environment | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "own")}
    run(str(tmp_path / "other"), **own)
    assert not (tmp_path / "other").exists()


def test_a_folder_that_cannot_be_made_is_a_mistake(tmp_path):
    before = jax.config.jax_compilation_cache_dir
    (tmp_path / "file").write_text("")
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        with pytest.raises(UserError, match="=.*/file/x: Not a directory"):
            keep_compiled(str(tmp_path / "file" / "x"))
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_the_default_is_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == str(tmp_path / "repair" / "compiled")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_folder() == str(tmp_path / "home/.cache/repair/compiled")
