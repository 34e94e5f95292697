"""The sandbox: jobs in, results out.

A worker gets a program, the call expressions of its tests and the limits. Expected
values stay here and are compared here, so only the right values pass. A test that
cannot be split so runs in the child, and its result says trust="in_child".

The isolation depends on the system and is measured: see `Sandbox.level` and
docs/sandbox.md.
"""

import collections
import concurrent.futures
import dataclasses
import functools
import os
import queue
import secrets
import shutil
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Self

from repair.errors import UserError
from repair.sandbox import asserts, isolation, screen, verdict
from repair.sandbox.worker import ZYGOTE, SandboxError, Worker

_BATCH = 64  # most jobs of one request: fewer round trips
_SHARES = 4  # least requests of a worker: a slow batch holds up fewer jobs
_LEAST = 8  # jobs of a request, before there are several for a worker
_SHARED = 16  # most programs of one child
_CHECKED = 100  # one of so many shared verdicts is checked alone
_CACHED_TESTS = 16_384  # split tests that are kept: training meets the same again
_CACHED_RESULTS = 65_536
_MOST = 10**9  # of any limit: system calls take no more
# Allowance of an attempt: factor over its reference, and least seconds.
_ATTEMPT_FACTOR, _ATTEMPT_LEAST = 10, 0.25


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of one program with all its tests; UserError if out of range.

    Attributes:
      seconds: Wall time, a backstop: a busy machine should not reach it first.
      cpu_seconds: Processor time.
      memory_mb: Address space in MiB.
      output_bytes: Approximate size of the values of all tests; larger values fail.
    """

    seconds: float = 5.0
    cpu_seconds: float = 1.0
    memory_mb: int = 512
    output_bytes: int = 65536

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not 0 < value <= _MOST:
                raise UserError(
                    f"the sandbox's {name} is {value}; it must be above 0 and at most"
                    f" {_MOST:,}"
                )


class Sandbox:
    """Run programs in worker processes; a context manager, safe for threads.

    `counts` counts the answers by status and trust, and those from the cache and from
    shared children. A worker that cannot start or dies on any request, and a closed
    sandbox, raise SandboxError: here, in `run`, in `map` and in futures.

    Args:
      workers: Number of processes; by default one a core.
      limits: Limits of one program.
      share: Let programs that pass a screen share a child, one after the other.
      cache: Answer equal jobs from memory.
      without: Layers of isolation to leave out, for tests.
    """

    def __init__(
        self,
        workers: int | None = None,
        limits: Limits | None = None,
        *,
        share: bool = True,
        cache: bool = True,
        without: tuple[str, ...] = (),
    ):
        self.limits = limits or Limits()
        self.counts: collections.Counter[str] = collections.Counter()
        self.sharing = share
        self._limits = dataclasses.asdict(self.limits)
        self._cache: collections.OrderedDict | None = (
            collections.OrderedDict() if cache else None
        )
        self._lock = threading.Lock()  # over counts, cache and sharing
        self._split = functools.lru_cache(_CACHED_TESTS)(asserts.split_test)
        count = workers or os.cpu_count() or 1
        self._folder = os.path.realpath(tempfile.mkdtemp(prefix="sandbox-"))
        os.chmod(self._folder, 0o755)  # the workers are other users
        private = {self._folder, sys.prefix, sys.base_prefix, str(ZYGOTE.parent)}
        self._private = tuple(sorted(private, key=len, reverse=True))
        self._workers = [Worker(self._folder, without) for _ in range(count)]
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for each in self._workers:
            self._idle.put(each)
        # Twice the workers: one thread waits while another splits tests.
        self._threads = concurrent.futures.ThreadPoolExecutor(2 * count, "sandbox")
        try:
            for each in self._workers:
                each.start()
        except SandboxError:
            self.close()
            raise

    @functools.cached_property
    def level(self) -> isolation.Level:
        """Isolation level that a probe measures in a child of a worker."""
        idle = self._idle.get()
        try:
            return isolation.measure_level(idle, self._limits)
        finally:
            self._idle.put(idle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers and the programs that still run; may be called again."""
        for each in self._workers:
            each.terminate()
        self._threads.shutdown(cancel_futures=True)
        for each in self._workers:
            each.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(
        self,
        code: str,
        tests: Sequence[str],
        setup: str = "",
        cpu_seconds: float | None = None,
    ) -> verdict.Result:
        """Run one program against its tests.

        Args:
          code: The program.
          tests: Statements, mostly asserts, each run in turn after the program.
          setup: Code that runs before the program.
          cpu_seconds: Processor time of this program; by default that of the limits.
        """
        return self.submit(code, tests, setup, cpu_seconds).result()

    def submit(
        self,
        code: str,
        tests: Sequence[str],
        setup: str = "",
        cpu_seconds: float | None = None,
    ) -> concurrent.futures.Future:
        """Return a future of `run`'s result."""
        job = self._normal(code, tests, setup, cpu_seconds)
        if found := self._recall([job]):
            future: concurrent.futures.Future = concurrent.futures.Future()
            future.set_result(self._count([found[job]])[0])
            return future
        return self._start(self._run_one, job)

    def map(self, jobs: Sequence[tuple]) -> list[verdict.Result]:
        """Return the results of jobs in order; a job is a tuple of `run`'s arguments.

        Equal jobs run once and share their result.
        """
        jobs = [self._normal(*job) for job in jobs]
        results = self._recall(jobs)
        unique = [job for job in dict.fromkeys(jobs) if job not in results]
        each, workers = -(-len(unique) // _SHARES), len(self._workers)
        # A request for every one of few jobs would cost more than it gains.
        share = max(-(-each // workers), min(-(-len(unique) // workers), _LEAST))
        size = max(1, min(_BATCH, share))
        batches = [unique[i : i + size] for i in range(0, len(unique), size)]
        futures = [self._start(self._run_batch, batch) for batch in batches]
        for batch, future in zip(batches, futures, strict=True):
            results.update(zip(batch, future.result(), strict=True))
        return self._count([results[job] for job in jobs])

    def allowances(self, references: Sequence[tuple]) -> list[float]:
        """Return the processor seconds to allow for attempts at these references.

        Ten times the seconds of the reference, between 0.25 and the limit; the limit
        if the reference does not pass. Short, since attempts that hang cost most.
        """
        most = self.limits.cpu_seconds
        return [
            min(max(_ATTEMPT_FACTOR * result.seconds, _ATTEMPT_LEAST), most)
            if result.passed
            else most
            for result in self.map(references)
        ]

    def _normal(
        self,
        code: str,
        tests: Sequence[str],
        setup: str = "",
        cpu_seconds: float | None = None,
    ) -> tuple:
        if isinstance(tests, str):
            raise TypeError("tests is one string; give a sequence of tests")
        if cpu_seconds is None:
            cpu_seconds = self.limits.cpu_seconds
        if not cpu_seconds > 0:
            raise ValueError(f"cpu_seconds is {cpu_seconds}; it must be above 0")
        return code, tuple(tests), setup, cpu_seconds

    def _start(self, function: Callable, argument: Any) -> concurrent.futures.Future:
        try:
            return self._threads.submit(function, argument)
        except RuntimeError as error:
            raise SandboxError("the sandbox is closed") from error

    def _recall(self, jobs: Sequence[tuple]) -> dict[tuple, verdict.Result]:
        """Return the cached results of the jobs."""
        if self._cache is None:
            return {}
        with self._lock:
            found = {job: self._cache[job] for job in jobs if job in self._cache}
            for job in found:
                self._cache.move_to_end(job)
            self.counts["cached"] += len(found)
        return found

    def _count(self, results: list[verdict.Result]) -> list[verdict.Result]:
        """Count results as answers; return them."""
        with self._lock:
            for result in results:
                self.counts[result.status] += 1
                self.counts[f"trust_{result.trust}"] += 1
        return results

    def _remember(self, job: tuple, result: verdict.Result, shared: bool) -> None:
        with self._lock:
            self.counts["shared"] += shared
            # A wall clock that ran out or a killed child may be chance.
            lasting = result.status != "crashed" and (
                result.status != "timeout" or result.seconds >= job[3]
            )
            if self._cache is not None and lasting:
                self._cache[job] = result
                if len(self._cache) > _CACHED_RESULTS:
                    self._cache.popitem(last=False)

    def _run_one(self, job: tuple) -> verdict.Result:
        return self._count(self._run_batch([job]))[0]

    def _run_batch(self, jobs: list[tuple]) -> list[verdict.Result]:
        """Return results in order; programs share children where the screen allows."""
        parts = [[self._split(source) for source in job[1]] for job in jobs]
        requests = [
            # No expected value goes out, and a secret must come back.
            {
                "token": secrets.token_hex(8),
                "setup": setup,
                "code": code,
                "tests": [[test.kind, test.prelude, test.sources] for test in tests],
                "limits": self._limits | {"cpu_seconds": cpu_seconds},
            }
            for (code, _, setup, cpu_seconds), tests in zip(jobs, parts, strict=True)
        ]
        places = range(len(jobs))
        alone = {
            i for i in places if not (self.sharing and screen.may_share(*jobs[i][:3]))
        }
        idle = self._idle.get()
        try:
            results = self._run_on(idle, jobs, parts, requests, alone)
        finally:
            self._idle.put(idle)
        for i in places:
            self._remember(jobs[i], results[i], i not in alone)
        return [results[i] for i in places]

    def _run_on(
        self,
        idle: Worker,
        jobs: list[tuple],
        parts: list[list[asserts.Test]],
        requests: list[dict],
        alone: set[int],
    ) -> dict[int, verdict.Result]:
        """Return results by place; a program that ends a shared child joins `alone`."""
        places = range(len(jobs))
        results: dict[int, verdict.Result] = {}

        def run(groups: list[list[int]]) -> None:
            batches = [[requests[i] for i in group] for group in groups]
            answers = idle.ask(batches, self._limits)
            for group, answer in zip(groups, answers, strict=True):
                for i, result in verdict.read_verdicts(
                    [(i, parts[i], requests[i]["token"], jobs[i][3]) for i in group],
                    answer,
                    self._private,
                ):
                    results[i] = result
                # The first without a result ended the child or spent its memory: it
                # runs again by itself, unless it hung.
                done = [results[i].status for i in group if i in results]
                if "timeout" not in done:
                    alone.update([i for i in group if i not in results][:1])

        while waiting := [i for i in places if i not in results]:
            together = [i for i in waiting if i not in alone]
            groups = [
                together[i : i + _SHARED] for i in range(0, len(together), _SHARED)
            ]
            run([[i] for i in waiting if i in alone] + groups)
        checked = [i for i in places if i not in alone and self._draw_check()]
        before = {i: results[i] for i in checked}
        run([[i] for i in checked])
        for i in checked:
            self._compare(before[i], results[i], jobs[i])
        return results

    def _draw_check(self) -> bool:
        return secrets.randbelow(_CHECKED) == 0

    def _compare(
        self, shared: verdict.Result, single: verdict.Result, job: tuple
    ) -> None:
        """Stop sharing, with a warning, if it changed a verdict."""
        same = dataclasses.replace(shared, seconds=0.0) == dataclasses.replace(
            single, seconds=0.0
        )
        self.counts["checked"] += 1
        if not same and self.sharing:
            self.sharing = False
            warnings.warn(
                "a program got another verdict in company than alone, so programs no"
                f" longer share children in this run: {shared} and {single} for"
                f" {job[0]!r}",
                RuntimeWarning,
                stacklevel=2,
            )
