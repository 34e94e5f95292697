"""The sandbox as its users see it: jobs go in, results come out.

What crosses to a worker is the program, the call expressions of its tests and the
limits; the expected values stay here and are compared here, so a program can pass
only by the right values. Tests of another form run in the child and are only as
good as the program's good faith: their results say trust="in_child".

Not stopped by this version: reading files (the memory of this process among them,
where the user may), and what a program does beneath the interpreter to get round
its audit hook. Run it in a container where that matters.
"""

import concurrent.futures
import dataclasses
import functools
import os
import queue
import secrets
import shutil
import sys
import tempfile
from collections.abc import Sequence

from repair.env.sandbox import verdict, worker
from repair.errors import UserError

_BATCH = 16  # most jobs of one request: fewer round trips
_SHARES = 4  # least requests of a worker: one slow batch holds up less
_CACHED = 16384  # tests whose parts are kept: training meets the same ones again


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one program with all its tests may use.

    Attributes:
      seconds: Wall time, a backstop: a busy machine should not reach it first.
      cpu_seconds: Processor time.
      memory_mb: Address space in MiB.
      output_bytes: Size of the values of all tests, about; past it they are too
        large to pass.

    Raises:
      UserError: A limit is not positive.
    """

    seconds: float = 5.0
    cpu_seconds: float = 1.0
    memory_mb: int = 512
    output_bytes: int = 65536

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if not value > 0:
                raise UserError(
                    f"the sandbox's {name} is {value}; it must be above 0: raise it"
                )


class Sandbox:
    """Runs programs in worker processes of their own; a context manager.

    Usable from many threads at once.

    Args:
      workers: Processes; by default one a core.
      limits: What one program may use.

    Raises:
      SandboxError: Here, or from `run`, `map` and futures, when a worker cannot be
        started or dies whatever it runs, or the sandbox is closed.
    """

    def __init__(self, workers: int | None = None, limits: Limits | None = None):
        self.limits = limits or Limits()
        count = workers or os.cpu_count() or 1
        self._split = functools.lru_cache(_CACHED)(verdict.split)
        self._folder = os.path.realpath(tempfile.mkdtemp(prefix="sandbox-"))
        self._private = tuple(
            sorted(
                {self._folder, sys.prefix, sys.base_prefix, str(worker.ZYGOTE.parent)},
                key=len,
                reverse=True,
            )
        )
        self._workers = [worker.Worker(self._folder) for _ in range(count)]
        self._idle: queue.SimpleQueue[worker.Worker] = queue.SimpleQueue()
        for each in self._workers:
            self._idle.put(each)
        self._threads = concurrent.futures.ThreadPoolExecutor(count, "sandbox")
        try:
            for each in self._workers:
                each.start()
        except worker.SandboxError:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self) -> None:
        """Ends all workers and the programs still running; may be called again."""
        for each in self._workers:
            each.terminate()
        self._threads.shutdown(cancel_futures=True)
        for each in self._workers:
            each.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, code: str, tests: Sequence[str], setup: str = "") -> verdict.Result:
        """Runs one program against its tests.

        Args:
          code: The program.
          tests: Statements, each run in turn after the program; commonly asserts.
          setup: Code that runs before the program.
        """
        return self.submit(code, tests, setup).result()

    def submit(
        self, code: str, tests: Sequence[str], setup: str = ""
    ) -> concurrent.futures.Future:
        """As `run`, without waiting: a future of the result."""
        job = _normal(code, tests, setup)
        return self._submit_batch([job], lambda results: results[0])

    def map(self, jobs: Sequence[tuple]) -> list[verdict.Result]:
        """Runs many jobs, each a tuple of `run`'s arguments; results in order.

        Equal jobs run once and share their result.
        """
        jobs = [_normal(*job) for job in jobs]
        unique = list(dict.fromkeys(jobs))
        share = -(-len(unique) // (_SHARES * len(self._workers)))
        size = max(1, min(_BATCH, share))
        batches = [unique[i : i + size] for i in range(0, len(unique), size)]
        futures = [self._submit_batch(batch, list) for batch in batches]
        results = {}
        for batch, future in zip(batches, futures, strict=True):
            results.update(zip(batch, future.result(), strict=True))
        return [results[job] for job in jobs]

    def _submit_batch(self, jobs: list[tuple], finish) -> concurrent.futures.Future:
        try:
            return self._threads.submit(lambda: finish(self._run_batch(jobs)))
        except RuntimeError as error:
            raise worker.SandboxError("the sandbox is closed") from error

    def _run_batch(self, jobs: list[tuple]) -> list[verdict.Result]:
        tests = [[self._split(source) for source in sources] for _, sources, _ in jobs]
        requests = [
            {
                "token": secrets.token_hex(8),
                "setup": setup,
                "code": code,
                "tests": [[test.kind, test.source] for test in parts],
                "limits": dataclasses.asdict(self.limits),
            }
            for (code, _, setup), parts in zip(jobs, tests, strict=True)
        ]
        idle = self._idle.get()
        try:
            answers = idle.ask(requests)
        finally:
            self._idle.put(idle)
        return [
            verdict.judge(parts, request["token"], answer, self._private)
            for parts, request, answer in zip(tests, requests, answers, strict=True)
        ]


def _normal(code: str, tests: Sequence[str], setup: str = "") -> tuple:
    if isinstance(tests, str):
        raise TypeError("tests is one string; give a sequence of tests")
    return code, tuple(tests), setup
