"""The sandbox: jobs in, results out.

A child gets its program, the call expressions of its tests and nothing else. Expected
values stay here and are compared here, so only the right values pass. A test that
cannot be split so runs in the child, and its result says trust="in_child".

The isolation depends on the system and is measured: see `Sandbox.level` and
docs/sandbox.md.
"""

import collections
import concurrent.futures
import dataclasses
import functools
import secrets
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from repair.sandbox import asserts, isolation, verdict
from repair.sandbox.cores import available_cores
from repair.sandbox.limits import Limits, make_request
from repair.sandbox.worker import ZYGOTE, Answer, Request, SandboxError, Worker
from repair.sandbox.worker_group import WorkerGroup

_BATCH = 64  # most jobs that a worker takes at once
_SHARES = 4  # least shares of a worker: a slow one holds up fewer jobs
_LEAST = 8  # jobs of a share, before there are several for a worker
_CACHED_RESULTS = 65_536
# Allowance of an attempt: factor over its reference, and least seconds.
_ATTEMPT_FACTOR, _ATTEMPT_LEAST = 10, 0.25
_PATIENCE = 4  # times the wall clock of a job that waited too long for a processor


class Sandbox(WorkerGroup):
    """Run programs in worker processes; a context manager, safe for threads.

    `counts` counts the answers by status and trust, and those from the cache. A worker
    that cannot start or dies on any request, a program that does not get a processor,
    and a closed sandbox raise SandboxError: here, in `run`, in `map` and in futures.

    Args:
      workers: Number of processes; by default one for each core that is available.
      limits: Limits of one program.
      cache: Answer equal jobs from memory.
      without: Layers of isolation to leave out, for tests.
    """

    def __init__(
        self,
        workers: int | None = None,
        limits: Limits | None = None,
        *,
        cache: bool = True,
        without: tuple[str, ...] = (),
    ):
        super().__init__(limits or Limits(), "sandbox")
        self.counts: collections.Counter[str] = collections.Counter()
        self._without = without
        self._cache: collections.OrderedDict | None = (
            collections.OrderedDict() if cache else None
        )
        self._lock = threading.RLock()  # over counts, cache and _references
        self._references: Sandbox | None = None
        count = workers or available_cores()
        private = {self._folder, sys.prefix, sys.base_prefix, str(ZYGOTE.parent)}
        self._private = tuple(sorted(private, key=len, reverse=True))
        # Twice the workers: one thread waits while another splits tests.
        started = [Worker(self._folder, without) for _ in range(count)]
        self._start_workers(started, threads=2 * count)

    @functools.cached_property
    def level(self) -> isolation.Level:
        """Isolation level that a probe measures in a child of a worker."""
        return self._measure_level()

    @property
    def references(self) -> "Sandbox":
        """A sandbox for trusted programs: its workers never run another program.

        It has the same limits, counts and cache, starts when it is first used, and
        closes with this one.
        """
        with self._lock:
            if self._references is None:
                twin = Sandbox(len(self._workers), self.limits, without=self._without)
                twin.counts, twin._cache = self.counts, self._cache
                twin._lock, twin._references = self._lock, twin
                self._references = twin
            return self._references

    def close(self) -> None:
        """End all workers and the programs that still run; may be called again."""
        if self._references not in (None, self):
            self._references.close()
        super().close()

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

    def steady(self, jobs: Sequence[tuple]) -> list[verdict.Result | None]:
        """Return the results of jobs, with None for those that sit near a limit.

        Such a program would get another verdict on a faster or slower processor: it
        ends after more than half of its time, or hits its limit but not twice that.
        """
        normal = [self._normal(*job) for job in jobs]
        results = self.map(normal)
        hanging = [i for i, each in enumerate(results) if each.status == "timeout"]
        longer = [(*normal[i][:3], 2 * normal[i][3]) for i in hanging]
        longest = dict(zip(hanging, self.map(longer), strict=True))
        return [
            each if _is_steady(each, job[3], longest.get(i)) else None
            for i, (each, job) in enumerate(zip(results, normal, strict=True))
        ]

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
            for result in self.references.map(references)
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

    def _remember(self, job: tuple, result: verdict.Result) -> None:
        # A killed child may be chance.
        if self._cache is None or result.status == "crashed":
            return
        with self._lock:
            self._cache[job] = result
            if len(self._cache) > _CACHED_RESULTS:
                self._cache.popitem(last=False)

    def _run_one(self, job: tuple) -> verdict.Result:
        return self._count(self._run_batch([job]))[0]

    def _run_batch(self, jobs: list[tuple]) -> list[verdict.Result]:
        """Return results in order."""
        tests = [asserts.split_tests(job[1], job[2]) for job in jobs]
        # No expected value goes out, and a secret must come back.
        tokens = [secrets.token_hex(8) for _ in jobs]
        requests = [
            make_request(
                code,
                [test.steps for test in split],
                self.limits,
                setup=setup,
                token=token,
                cpu_seconds=cpu_seconds,
            )
            for (code, _, setup, cpu_seconds), split, token in zip(
                jobs, tests, tokens, strict=True
            )
        ]
        idle = self._idle.get()
        try:
            answers = self._ask(idle, requests)
        finally:
            self._idle.put(idle)
        judged = zip(tests, tokens, answers, strict=True)
        results = [verdict.judge(*each, self._private) for each in judged]
        for job, result in zip(jobs, results, strict=True):
            self._remember(job, result)
        return results

    def _ask(self, idle: Worker, requests: list[Request]) -> list[Answer]:
        """Return answers; a job that waited too long for a processor runs again."""
        nothing = make_request("", [], self.limits)
        answers = idle.ask(requests, nothing)
        for place, answer in enumerate(answers):
            if answer.end != "too long":
                continue
            patient = dataclasses.replace(
                requests[place],
                seconds=_PATIENCE * requests[place].seconds,
                patience=_PATIENCE,
            )
            (answers[place],) = idle.ask([patient], nothing)
            if answers[place].end == "too long" and idle.knows_queues:
                raise SandboxError(
                    f"a program got {answers[place].seconds:.2f} s of a processor in"
                    f" {patient.seconds:g} s, so there is no verdict; the machine is"
                    " too busy: use fewer workers (sandbox_workers)"
                )
        return answers


def _is_steady(
    result: verdict.Result, allowed: float, longer: verdict.Result | None
) -> bool:
    """Return False for a result near a limit; `longer` is that of twice the time."""
    if longer is not None:
        return longer.status == "timeout"
    return result.seconds <= allowed / 2
