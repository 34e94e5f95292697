"""The sandbox as its users see it: jobs go in, results come out.

What crosses to a worker is the program, the call expressions of its tests and the
limits; the expected values stay here and are compared here, so a program can pass
only by the right values. Tests that cannot be taken apart run in the child and are
only as good as the program's good faith: their results say trust="in_child".

How well programs are locked in depends on the system and is found out by trying:
see `Sandbox.level` and docs/sandbox.md.
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
from collections.abc import Sequence

from repair.errors import UserError
from repair.sandbox import asserts, screen, verdict, worker
from repair.sandbox import isolation as level

_BATCH = 64  # most jobs of one request: fewer round trips
_SHARES = 4  # least requests of a worker: one slow batch holds up less
_LEAST = 8  # programs of a request, before there are several for a worker
_SHARED = 16  # most programs of one child
_CHECKED = 100  # of so many shared verdicts one is checked alone
_CACHED_TESTS = 16_384  # tests whose parts are kept: training meets the same again
_CACHED_RESULTS = 65_536
_MOST = 10**9  # of any limit; more would not fit where the system takes it
# What an attempt may take beside the reference, and at least in seconds.
_ATTEMPT_FACTOR, _ATTEMPT_LEAST = 10, 0.25


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
      UserError: A limit is not positive, or past all use.
    """

    seconds: float = 5.0
    cpu_seconds: float = 1.0
    memory_mb: int = 512
    output_bytes: int = 65536

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if not 0 < value <= _MOST:
                raise UserError(
                    f"the sandbox's {name} is {value}; it must be above 0 and at most"
                    f" {_MOST:,}"
                )


class Sandbox:
    """Runs programs in worker processes of their own; a context manager.

    Usable from many threads at once. `counts` says how many answers were given of each
    status and trust, how many came from the cache and how many ran in company.

    Args:
      workers: Processes; by default one a core.
      limits: What one program may use.
      share: Whether programs that pass a screen may share a child, several in turn.
      cache: Whether equal jobs are answered from memory.
      without: Layers of the lock to leave out; for tests of the lock.

    Raises:
      SandboxError: Here, or from `run`, `map` and futures, when a worker cannot be
        started or dies whatever it runs, or the sandbox is closed.
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
        self._split = functools.lru_cache(_CACHED_TESTS)(asserts.split)
        count = workers or os.cpu_count() or 1
        self._folder = os.path.realpath(tempfile.mkdtemp(prefix="sandbox-"))
        os.chmod(self._folder, 0o755)  # the workers are other users
        self._private = tuple(
            sorted(
                {self._folder, sys.prefix, sys.base_prefix, str(worker.ZYGOTE.parent)},
                key=len,
                reverse=True,
            )
        )
        self._workers = [worker.Worker(self._folder, without) for _ in range(count)]
        self._idle: queue.SimpleQueue[worker.Worker] = queue.SimpleQueue()
        for each in self._workers:
            self._idle.put(each)
        # Twice the workers: one thread waits while another takes programs apart.
        self._threads = concurrent.futures.ThreadPoolExecutor(2 * count, "sandbox")
        try:
            for each in self._workers:
                each.start()
        except worker.SandboxError:
            self.close()
            raise

    @functools.cached_property
    def level(self) -> level.Level:
        """How well programs are locked in, as a child of a worker found by trying."""
        idle = self._idle.get()
        try:
            return level.measure(idle, self._limits)
        finally:
            self._idle.put(idle)

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

    def run(
        self,
        code: str,
        tests: Sequence[str],
        setup: str = "",
        cpu_seconds: float | None = None,
    ) -> verdict.Result:
        """Runs one program against its tests.

        Args:
          code: The program.
          tests: Statements, each run in turn after the program; commonly asserts.
          setup: Code that runs before the program.
          cpu_seconds: Processor time of this one; by default that of the limits.
        """
        return self.submit(code, tests, setup, cpu_seconds).result()

    def submit(
        self,
        code: str,
        tests: Sequence[str],
        setup: str = "",
        cpu_seconds: float | None = None,
    ) -> concurrent.futures.Future:
        """As `run`, without waiting: a future of the result."""
        job = self._normal(code, tests, setup, cpu_seconds)
        if found := self._remembered([job]):
            future = concurrent.futures.Future()
            future.set_result(self._counted([found[job]])[0])
            return future
        return self._submit_batch([job], lambda results: self._counted(results)[0])

    def map(self, jobs: Sequence[tuple]) -> list[verdict.Result]:
        """Runs many jobs, each a tuple of `run`'s arguments; results in order.

        Equal jobs run once and share their result.
        """
        jobs = [self._normal(*job) for job in jobs]
        results = self._remembered(jobs)
        unique = [job for job in dict.fromkeys(jobs) if job not in results]
        each, workers = -(-len(unique) // _SHARES), len(self._workers)
        # Few programs are not worth a child for each of them.
        share = max(-(-each // workers), min(-(-len(unique) // workers), _LEAST))
        size = max(1, min(_BATCH, share))
        batches = [unique[i : i + size] for i in range(0, len(unique), size)]
        futures = [self._submit_batch(batch, list) for batch in batches]
        for batch, future in zip(batches, futures, strict=True):
            results.update(zip(batch, future.result(), strict=True))
        return self._counted([results[job] for job in jobs])

    def allowances(self, references: Sequence[tuple]) -> list[float]:
        """Processor seconds for attempts at what each of these jobs solves.

        Ten times what the job takes, but at least 0.25 and at most what the limits
        say, which is also the answer for a job that does not pass. So short because
        attempts that hang, and not forks, would rule the bill.
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

    def _submit_batch(self, jobs: list[tuple], finish) -> concurrent.futures.Future:
        try:
            return self._threads.submit(lambda: finish(self._run_batch(jobs)))
        except RuntimeError as error:
            raise worker.SandboxError("the sandbox is closed") from error

    def _remembered(self, jobs: Sequence[tuple]) -> dict[tuple, verdict.Result]:
        """What the cache knows of the jobs."""
        if self._cache is None:
            return {}
        with self._lock:
            found = {job: self._cache[job] for job in jobs if job in self._cache}
            for job in found:
                self._cache.move_to_end(job)
            self.counts["cached"] += len(found)
        return found

    def _counted(self, results: list[verdict.Result]) -> list[verdict.Result]:
        """The results, now among the answers given."""
        with self._lock:
            for result in results:
                self.counts[result.status] += 1
                self.counts[f"trust_{result.trust}"] += 1
        return results

    def _remember(self, job: tuple, result: verdict.Result, shared: bool) -> None:
        with self._lock:
            self.counts["shared"] += shared
            # A wall clock that ran out, or a child that was killed, may be chance.
            lasting = result.status != "crashed" and (
                result.status != "timeout" or result.seconds >= job[3]
            )
            if self._cache is not None and lasting:
                self._cache[job] = result
                if len(self._cache) > _CACHED_RESULTS:
                    self._cache.popitem(last=False)

    def _run_batch(self, jobs: list[tuple]) -> list[verdict.Result]:
        """Results in order: in company where the screen allows, else alone."""
        parts = [[self._split(source) for source in job[1]] for job in jobs]
        requests = [
            _request(job, tests, self._limits)
            for job, tests in zip(jobs, parts, strict=True)
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

    def _run_on(self, idle: worker.Worker, jobs, parts, requests, alone: set[int]):
        """Results by place; who has ended the others' child joins those alone."""
        places = range(len(jobs))
        results: dict[int, verdict.Result] = {}

        def run(groups: list[list[int]]) -> None:
            batches = [[requests[i] for i in group] for group in groups]
            answers = idle.ask(batches, self._limits)
            for group, answer in zip(groups, answers, strict=True):
                for i, result in verdict.judge(
                    [(i, parts[i], requests[i]["token"], jobs[i][3]) for i in group],
                    answer,
                    self._private,
                ):
                    results[i] = result
                # Who ended the others' child, or spent its memory, runs by itself; who
                # hung has had its time.
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

    def _compare(self, shared, single, job: tuple) -> None:
        """Stops sharing, loudly, if company changed a verdict."""
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


def sandbox_shares(counts: collections.Counter) -> dict[str, float]:
    """Shares of the answers behind a difference of two `Sandbox.counts`.

    By status, and of those whose tests ran in the child. Answers from the cache count
    as the others do, so a run that was resumed, with nothing in it, reads the same.
    """
    answers = sum(counts[status] for status in verdict.STATUSES)
    return {
        f"sandbox_{name}": counts[name] / max(answers, 1)
        for name in (*verdict.STATUSES, "trust_in_child")
    }


def _request(job: tuple, parts: list[asserts.Test], limits: dict) -> dict:
    """A job as the zygote gets it: no expected value, and a secret to answer with."""
    code, _, setup, cpu_seconds = job
    return {
        "token": secrets.token_hex(8),
        "setup": setup,
        "code": code,
        "tests": [[test.kind, test.prelude, test.sources] for test in parts],
        "limits": limits | {"cpu_seconds": cpu_seconds},
    }
