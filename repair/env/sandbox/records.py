"""What crosses the sandbox's door."""

import dataclasses


class SandboxError(Exception):
    """The sandbox itself failed; says nothing about any program."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one program may use, all of its tests together.

    Attributes:
      seconds: Wall time, a backstop: a busy machine should not reach it first.
      cpu_seconds: Processor time; this decides about endless loops, so that the
        load of the machine does not change a verdict.
      memory_mb: Address space in MiB, the interpreter's 20 included (Linux only).
      output_bytes: Size of the values of all tests, about as encoded.
    """

    seconds: float = 5.0
    cpu_seconds: float = 1.0
    memory_mb: int = 512
    output_bytes: int = 65536


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of one program.

    Attributes:
      passed: True only if every test held on a real run.
      status: "passed", "failed", "error", "syntax_error", "timeout", "memory",
        "crashed" or "forbidden"; of the first failed test, if the program loaded.
      feedback: One deterministic line for the model; empty if all tests pass.
      failed_tests: 0-based indices of the tests that did not hold; all of them if
        the program did not load or did not live to the end.
      seconds: Wall time.
      trust: "value" if every verdict came from comparing values outside the
        program's process, else "in_child".
    """

    passed: bool
    status: str
    feedback: str
    failed_tests: tuple[int, ...]
    seconds: float
    trust: str
