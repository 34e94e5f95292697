"""Compiled programs kept on disk, so that a second run starts at once."""

import hashlib
import os
import pathlib
import platform

import jax
import jaxlib

from repair.errors import UserError

_MOST_BYTES = 2 * 2**30
_LEAST_SECONDS = 0.1  # of compiling; what is faster is not worth a file
_CPUINFO = pathlib.Path("/proc/cpuinfo")


def default_folder() -> str:
    """Return the place in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return str(pathlib.Path(home) / "repair" / "compiled")


def keep_compiled(folder: str) -> None:
    """Keep compiled programs below a folder; "" keeps none.

    A JAX_COMPILATION_CACHE_DIR of the user's own comes first. The least recently used
    programs go when there are more than 2 GiB.

    Raises:
      UserError: The folder cannot be written.
    """
    if not folder or jax.config.values["jax_compilation_cache_dir"]:
        return
    # A home may be shared by machines whose processors differ.
    place = pathlib.Path(folder).expanduser() / _machine()
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--compile_cache={folder}: {error.strerror}; give a folder that can be"
            " written, or --compile_cache= for none"
        ) from error
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_compilation_cache_max_size", _MOST_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)


def _machine() -> str:
    """Return a digest of what compiled programs depend on besides their source."""
    flags = ""
    if _CPUINFO.exists():
        lines = _CPUINFO.read_text(encoding="utf-8").splitlines()
        names = ("flags", "Features", "model name")
        flags = "\n".join(sorted({x for x in lines if x.startswith(names)}))
    text = "\n".join((platform.machine(), jaxlib.__version__, flags))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
