"""The real pytest on a project, in locked children of warm workers.

A worker holds the project's files in memory and has imported pytest. A job replaces
some of the files, and a child runs pytest on the result in a private folder: no
network, no other process, no file written elsewhere, installed packages readable. The
tests run in the program's own process, so a verdict is of the kind trust="in_child".
"""

import base64
import dataclasses
import functools
import json
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from repair.sandbox import isolation
from repair.sandbox.cores import available_cores
from repair.sandbox.limits import Limits
from repair.sandbox.worker import Answer, Request, SandboxError, Worker
from repair.sandbox.worker_group import WorkerGroup

_MOST = 16 << 20  # bytes of an answer
_WORKERS = 4
_PATIENCE = 4  # times the wall clock of a job that waited too long for a processor


@dataclasses.dataclass(frozen=True)
class Project:
    """The files of a project, and how pytest is called in them.

    Attributes:
      root: Its folder, absolute.
      program: Path of the file to repair, below the root.
      files: Contents by path below the root.
      arguments: Arguments of pytest, with paths relative to `cwd`.
      cwd: Folder below the root where pytest is called.
      modules: Installed modules that it imports.
    """

    root: str
    program: str
    files: Mapping[str, bytes]
    arguments: tuple[str, ...]
    cwd: str = "."
    modules: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Failure:
    """A test that fails, or a file that cannot be collected.

    Attributes:
      id: pytest's name of it.
      kind: Name of the exception.
      message: Its message; of an assert, pytest's introspection.
      text: The failure as pytest prints it.
      frames: (path below the root, line, function) of the traceback, innermost last.
      got: Representation of the left side of a comparison that does not hold.
      source: Example of a doctest.
      values: Representations of a test's local variables, by name.
    """

    id: str
    kind: str = ""
    message: str = ""
    text: str = ""
    frames: tuple[tuple[str, int, str], ...] = ()
    got: str | None = None
    source: str = ""
    values: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class PytestReport:
    """The outcome of one run of pytest, as its process tells it.

    Attributes:
      exit_code: pytest's, or None if it came to no end.
      used_up: True if it ran out of time or memory.
      ids: The collected tests.
      outcomes: "passed", "failed" or "skipped" by test.
      failures: Failures in order.
      text: The end of pytest's error output.
      seconds: Processor time.
    """

    exit_code: int | None
    used_up: bool
    ids: tuple[str, ...]
    outcomes: Mapping[str, str]
    failures: tuple[Failure, ...]
    text: str
    seconds: float

    @property
    def passed(self) -> bool:
        """True if pytest ends with exit code 0."""
        return self.exit_code == 0

    @property
    def failing(self) -> tuple[str, ...]:
        """Tests that failed, or that were collected and did not end."""
        return tuple(x for x in self.ids if self.outcomes.get(x, "failed") == "failed")


class PytestSandbox(WorkerGroup):
    """Run pytest on versions of a project; a context manager.

    Args:
      project: The project.
      workers: Number of processes; by default one for each core, at most 4.
      limits: Limits of one run. Memory comes on top of what pytest itself takes.
      without: Layers of isolation to leave out, for tests.
    """

    def __init__(
        self,
        project: Project,
        workers: int | None = None,
        limits: Limits | None = None,
        without: tuple[str, ...] = (),
    ):
        super().__init__(limits or Limits(), "pytest")
        count = workers or min(available_cores(), _WORKERS)
        # Longest first: one path may be a part of another.
        private = {self._folder, project.root, sys.prefix, sys.base_prefix}
        self.private = tuple(sorted(private, key=len, reverse=True))
        started = [self._worker(project, i, without) for i in range(count)]
        self._start_workers(started, threads=count)

    @functools.cached_property
    def level(self) -> isolation.Level:
        """Isolation level that a probe measures; packages are readable on purpose."""
        return self._measure_level(allowed=("packages",))

    def map(
        self, jobs: Sequence[Mapping[str, bytes]], cpu_seconds: float | None = None
    ) -> list[PytestReport]:
        """Return a report for each job in order.

        Args:
          jobs: New contents of files, by path below the root.
          cpu_seconds: Processor time of each; by default that of the limits.

        Raises:
          SandboxError: A worker cannot start, or a run gets no processor.
        """
        allowed = self.limits.cpu_seconds if cpu_seconds is None else cpu_seconds
        return list(self._threads.map(lambda job: self._run(job, allowed), jobs))

    def _worker(self, project: Project, number: int, without: tuple) -> Worker:
        folder = os.path.join(self._folder, str(number))
        os.mkdir(folder)
        os.chmod(folder, 0o777)
        settings = dataclasses.asdict(project) | {
            "folder": folder,
            "files": [[path, _encode(data)] for path, data in project.files.items()],
        }
        path = pathlib.Path(f"{folder}.json")
        path.write_text(json.dumps(settings), encoding="utf-8")
        path.chmod(0o600)
        return Worker(folder, without, str(path))

    def _run(self, job: Mapping[str, bytes], cpu_seconds: float) -> PytestReport:
        files = [[path, _encode(data)] for path, data in job.items()]
        body = json.dumps({"files": files}).encode()
        # A run that sleeps has several times its processor time.
        seconds = max(self.limits.seconds, _PATIENCE * cpu_seconds + 1)
        limits = (seconds, cpu_seconds, self.limits.memory_mb, _MOST)
        request = Request(body, *limits)
        nothing = Request(b'{"report": true}', *limits)
        worker = self._idle.get()
        try:
            (answer,) = worker.ask([request], nothing)
            if answer.end == "too long":
                longer = _PATIENCE * seconds
                patient = Request(body, longer, *limits[1:], patience=_PATIENCE)
                (answer,) = worker.ask([patient], nothing)
        finally:
            self._idle.put(worker)
        if answer.end == "too long" and worker.knows_queues:
            raise SandboxError("the machine is too busy to run the tests; try again")
        if answer.end == "answered" and not answer.text:
            raise SandboxError("pytest cannot start in the sandbox")
        # One name for the project's folder, whichever worker it is.
        text = answer.text.replace(worker.folder + "/tree/", "")
        text = text.replace(worker.folder, "")
        return read_report(dataclasses.replace(answer, text=text))


def read_report(answer: Answer) -> PytestReport:
    """Return the report in a child's answer, whatever it has written."""
    ids: tuple[str, ...] = ()
    outcomes: dict[str, str] = {}
    failures: list[Failure] = []
    code, text = None, ""
    try:
        for line in answer.text.split("\n")[:-1]:
            event = json.loads(line)
            match event["event"]:
                case "collected":
                    ids = tuple(str(each) for each in event["ids"])
                case "report" | "collect" as kind:
                    name = str(event["id"])
                    if event["failure"] is not None:
                        failures.append(_read_failure(name, event["failure"]))
                    if kind == "report" and outcomes.get(name) != "failed":
                        outcomes[name] = str(event["outcome"])
                case "finish":
                    code, text = int(event["status"]), str(event["text"])
    except (ValueError, KeyError, TypeError, RecursionError):
        code = None  # the program wrote there, or ended its process within a line
    if answer.end != "answered":
        code = None
    used_up = answer.end in ("used up", "too long")
    found = (ids, outcomes, tuple(failures), text, answer.seconds)
    return PytestReport(code, used_up, *found)


def _read_failure(name: str, found: dict[str, Any]) -> Failure:
    got = found["got"]
    return Failure(
        name,
        str(found["kind"]),
        str(found["message"]),
        str(found["text"]),
        tuple((str(path), int(line), str(at)) for path, line, at in found["frames"]),
        None if got is None else str(got),
        str(found["source"]),
        {str(key): str(value) for key, value in found["values"].items()},
    )


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
