"""llama.cpp by its server, in this process: the package xllamacpp. No jax."""

import concurrent.futures
import json
import pathlib
import statistics
import time
import urllib.request
from collections.abc import Callable

from benchmarks.peer_sides.table import GGUF, REPEATS, cores

BLOCK = 256  # the server's contexts are multiples of it


def open_server(
    path: pathlib.Path, rows: int, length: int, threads: int
) -> Callable[..., dict]:
    """Load a GGUF file; return a function from a request to its answer.

    Args:
      path: The file.
      rows: Requests that it works on at once.
      length: Longest context in tokens.
      threads: Threads of its products.

    Returns:
      A function of a request's path and fields, which are those of llama.cpp's own
      server. Keys and values are cached in float32, and all tokens can be sampled.
    """
    import xllamacpp

    options = xllamacpp.CommonParams()
    options.model.path = str(path)
    options.n_parallel, options.n_ctx = rows, rows * length
    options.cpuparams.n_threads = options.cpuparams_batch.n_threads = threads
    float32 = xllamacpp.ggml_type.GGML_TYPE_F32
    options.cache_type_k = options.cache_type_v = float32
    server = xllamacpp.Server(options)

    def ask(where: str, **fields) -> dict:
        fields |= {"return_tokens": True, "samplers": ["temperature"]}
        request = urllib.request.Request(
            server.listening_address + where,
            json.dumps(fields).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    return ask


def measure(folder: pathlib.Path, inputs: dict, rows: int) -> dict:
    """Measure decoding from the same prompts, once they are processed."""
    prompts, new = inputs["prompts"][:rows], inputs["new"]
    length = -(-(len(prompts[0]) + new) // BLOCK) * BLOCK
    ask = open_server(folder / GGUF, rows, length, cores())

    def complete(slot: int, prompt: list[int], count: int, cached: bool) -> list[int]:
        fields = {"prompt": prompt, "n_predict": count, "cache_prompt": cached}
        fields |= {"id_slot": slot, "temperature": 1.0, "ignore_eos": True}
        tokens = ask("/completion", **fields)["tokens"]
        assert len(tokens) == count
        return tokens

    prefills, decodes = [], []
    with concurrent.futures.ThreadPoolExecutor(rows) as pool:

        def complete_all(texts, count, cached):
            started = time.perf_counter()
            numbers = range(rows), texts, [count] * rows, [cached] * rows
            tokens = list(pool.map(complete, *numbers))
            return tokens, time.perf_counter() - started

        for _ in range(REPEATS + 1):  # the first warms up
            firsts, seconds = complete_all(prompts, 1, False)
            prefills.append(seconds)
            texts = [p + t for p, t in zip(prompts, firsts, strict=True)]
            decodes.append(complete_all(texts, new - 1, True)[1])
    return {
        # As for `generate`, whose first token comes from the prefill too.
        "tokens_per_second": rows * new / statistics.median(decodes[1:]),
        "prefill_seconds": statistics.median(prefills[1:]),
        "warm_up_seconds": prefills[0] + decodes[0],
    }
