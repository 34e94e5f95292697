"""MBPP+ beside the package evalplus: equal inputs, equal verdicts.

Part of `python -m benchmarks.references --mbppplus=MbppPlus.jsonl.gz`, which needs

pip install -e '.[judges]' && pip install --no-deps evalplus==0.3.1

Each row's inputs are compared with those of evalplus's own deserialiser, types
included. Its reference and some mutants that parse (one corruption each) are judged by
the row's tests in the sandbox, and by evalplus's `untrusted_check` on the same inputs
with the results of its own `trusted_exec`.
"""

import ast
import concurrent.futures
import contextlib
import dataclasses
import os
import random
import sys
from collections.abc import Sequence
from typing import Any

from repair.errors import UserError
from repair.sandbox import Sandbox
from repair.tasks import Task, load_tasks
from repair.tasks.corrupt import ALL_KINDS, corrupt
from repair.tasks.published import mbppplus, mbppplus_rules
from repair.tasks.published.expect import as_literal
from repair.tasks.rows import read_rows

SECONDS = 5.0  # of a call for evalplus, which counts wall time: a busy machine needs it
DONORS = 50
_TRIES = 40  # draws for the mutants of a task
_REPORT_EVERY = 25  # tasks


@dataclasses.dataclass(frozen=True)
class Judged:
    """A program and both verdicts.

    Attributes:
      name: Task and number of the mutant; 0 is the reference.
      ours: It passes the row's tests in the sandbox.
      theirs: evalplus's words for base and plus inputs: pass, fail or timeout.
      feedback: Of the sandbox.
      trust: Of the sandbox.
      code: The program.
    """

    name: str
    ours: bool
    theirs: tuple[str, str]
    feedback: str
    trust: str
    code: str

    @property
    def equal(self) -> bool:
        """True if both judge alike."""
        return self.ours == (self.theirs == ("pass", "pass"))


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All rows beside evalplus.

    Attributes:
      summary: `TaskList.line` of the reader.
      inputs: Inputs compared.
      unequal: Rows with inputs that differ.
      skipped: Inputs without a test of ours, by task.
      judged: The programs.
    """

    summary: str
    inputs: int
    unequal: tuple[str, ...]
    skipped: dict[str, int]
    judged: tuple[Judged, ...]

    def lines(self) -> list[str]:
        """Return the report."""
        references = [each for each in self.judged if each.name.endswith("/0")]
        mutants = [each for each in self.judged if not each.name.endswith("/0")]
        lines = [
            self.summary,
            f"inputs: {self.inputs}, unequal in rows: {list(self.unequal)} (bar: none);"
            f" without a test: {self.skipped}",
        ]
        for title, some in (("references", references), ("mutants", mutants)):
            lines.append(
                f"{title}: {len(some)}; pass here {sum(x.ours for x in some)}, by"
                f" evalplus {sum(x.theirs == ('pass', 'pass') for x in some)}; judged"
                f" differently {sum(not x.equal for x in some)} (bar: 0)"
            )
        for each in self.judged:
            if not each.equal:
                lines.append(
                    f"  {each.name}: here {'pass' if each.ours else each.feedback},"
                    f" evalplus {each.theirs}"
                )
        return lines

    @property
    def passed(self) -> bool:
        """True if inputs and verdicts are equal, and every reference passes."""
        return not self.unequal and all(
            each.equal and (each.ours or not each.name.endswith("/0"))
            for each in self.judged
        )


def compare(
    path: str,
    mutants: int,
    limit: int | None = None,
    workers: int | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare all rows, or the first ones.

    Raises:
      UserError: evalplus is missing, or the file cannot be read.
    """
    deserialize, _, _ = _evalplus()
    tasks = load_tasks("mbppplus/all", path=path, training=True, count=limit)
    by_name = {str(task.task_id): task for task in tasks}
    problems, unequal, skipped, inputs = {}, [], {}, 0
    for row in read_rows(path):
        name = f"Mbpp/{str(row.task_id).removeprefix('Mbpp/')}"
        if name not in by_name:
            continue
        fields, kept = row.fields, {}
        tests = " ".join(_tests(by_name[name]))
        for field in ("base_input", "plus_input"):
            theirs = [list(x) for x in deserialize(name, fields[field])]
            ours = [
                mbppplus_rules.convert_arguments(int(name[5:]), arguments)
                for arguments in fields[field]
            ]
            inputs += len(ours)
            if not same(ours, theirs):
                unequal.append(name)
            calls = [f"({', '.join(map(str, map(as_literal, x)))})" for x in ours]
            kept[field] = [
                x for call, x in zip(calls, theirs, strict=True) if call in tests
            ]
            if len(kept[field]) < len(ours):
                skipped[name] = skipped.get(name, 0) + len(ours) - len(kept[field])
        problems[name] = fields | kept
    programs = _programs(tasks, mutants, seed)
    verdicts, theirs = _ours(tasks, programs, workers), {}
    with concurrent.futures.ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for name, words in pool.map(
            lambda task: _theirs(problems[str(task.task_id)], programs[task]), tasks
        ):
            theirs[name] = words
            # A plain line: repair's bar imports jax, and evalplus forks this process.
            if len(theirs) % _REPORT_EVERY == 0:
                print(f"evalplus: {len(theirs)} of {len(tasks)} tasks", file=sys.stderr)
    judged = tuple(
        Judged(f"{task.task_id}/{n}", r.passed, words, r.feedback, r.trust, code)
        for task in tasks
        for n, (code, r, words) in enumerate(
            zip(
                programs[task],
                verdicts[str(task.task_id)],
                theirs[str(task.task_id)],
                strict=True,
            )
        )
    )
    return Comparison(tasks.line(), inputs, tuple(unequal), skipped, judged)


def same(one: Any, two: Any) -> bool:
    """Return True if two values are equal in every type and sign, NaN included."""
    if type(one) is not type(two):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, dict):
        return [*one] == [*two] and all(same(one[key], two[key]) for key in one)
    return one == two if isinstance(one, set) else repr(one) == repr(two)


def _tests(task: Task) -> tuple[str, ...]:
    return (*task.test_list, *task.hidden_test_list)


def _programs(
    tasks: Sequence[Task], mutants: int, seed: int
) -> dict[Task, tuple[str, ...]]:
    """Return each task's reference and mutants of it that parse."""
    rng, codes = random.Random(seed), [task.code for task in tasks]
    found = {}
    for task in tasks:
        donors = rng.sample(codes, min(DONORS, len(codes)))
        versions = {task.code: None}
        for _ in range(_TRIES):
            if len(versions) > mutants:
                break
            with contextlib.suppress(ValueError, SyntaxError):
                mutant = corrupt(task.code, donors, rng, 1, ALL_KINDS)[0]
                ast.parse(mutant)
                versions[mutant] = None
        found[task] = tuple(versions)
    return found


def _ours(tasks: Sequence[Task], programs: dict, workers: int | None) -> dict:
    """Return the sandbox's results by task, in the order of its programs."""
    with Sandbox(workers, mbppplus.LIMITS) as sandbox:
        jobs = [(task.code, _tests(task), task.test_setup_code) for task in tasks]
        times = sandbox.allowances(jobs)
        every = [
            (code, *job[1:], time)
            for task, job, time in zip(tasks, jobs, times, strict=True)
            for code in programs[task]
        ]
        results = iter(sandbox.map(every))
        return {
            str(task.task_id): [next(results) for _ in programs[task]] for task in tasks
        }


def _theirs(problem: dict, codes: Sequence[str]) -> tuple[str, list[tuple[str, str]]]:
    """Return evalplus's verdicts of programs on base and on plus inputs."""
    _, execute, check = _evalplus()
    function, source = problem["entry_point"], problem["canonical_solution"]
    found_or_not = int(problem["task_id"][5:]) in mbppplus_rules.FOUND_OR_NOT
    words: list[list[str]] = []
    for field in ("base_input", "plus_input"):
        expected, times = execute(
            source, problem[field], function, True, output_not_none=found_or_not
        )
        settings = (problem[field], function, expected, problem["atol"], times)
        words.append(
            [check("mbpp", code, *settings, True, SECONDS)[0] for code in codes]
        )
    return problem["task_id"], list(zip(*words, strict=True))


def _evalplus() -> tuple:
    """Return its deserialiser, its run of references and its check of programs."""
    try:
        from evalplus.data.mbpp import mbpp_deserialize_inputs
        from evalplus.eval import untrusted_check
        from evalplus.gen.util import trusted_exec
    except ImportError as error:
        raise UserError(
            f"evalplus cannot be imported ({error}); run pip install -e '.[judges]' and"
            " pip install --no-deps evalplus==0.3.1"
        ) from error
    return mbpp_deserialize_inputs, trusted_exec, untrusted_check
