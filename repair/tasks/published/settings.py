"""Settings of a published set: its own, so that its results compare across runs."""

import dataclasses

from repair.errors import UserError
from repair.sandbox import Limits, Sandbox
from repair.tasks.bugs import CorruptionConfig, make_bugs
from repair.tasks.published import mbppplus
from repair.tasks.task import Bug, TaskList

# References of the other sets take up to seconds with all of their tests.
_LIMITS = Limits(seconds=120.0, cpu_seconds=10.0)
_LIMITS_OF = {"mbppplus": mbppplus.LIMITS}


@dataclasses.dataclass(frozen=True)
class SetSettings:
    """Settings that a published set's figures depend on, beside the policy.

    Attributes:
      limits: Of each program in the sandbox, with all its tests.
      corruptions: Of a set without faulty programs, one program of each task.
    """

    limits: Limits = _LIMITS
    corruptions: CorruptionConfig = CorruptionConfig(per_task=1)

    def changed(
        self,
        cpu_seconds: float | None = None,
        corruptions: str | None = None,
        kinds: list[str] | None = None,
    ) -> "SetSettings":
        """Return the settings with what a user sets in place of the set's own.

        Args:
          cpu_seconds: Of a program.
          corruptions: Lowest and highest number, "LOW,HIGH".
          kinds: Of corruptions.

        Raises:
          UserError: A value is out of range.
        """
        limits, made = self.limits, self.corruptions
        if cpu_seconds is not None:
            limits = dataclasses.replace(limits, cpu_seconds=cpu_seconds)
        if corruptions is not None:
            low, _, high = corruptions.partition(",")
            if not (low.strip().isdecimal() and high.strip().isdecimal()):
                raise UserError(
                    f"--corruptions is {corruptions!r}; give LOW,HIGH such as 1,5"
                )
            made = dataclasses.replace(
                made, min_corruptions=int(low), max_corruptions=int(high)
            )
        if kinds is not None:
            made = dataclasses.replace(made, kinds=tuple(kinds))
        return SetSettings(limits, made)


def settings_of(spec: str) -> SetSettings:
    """Return the settings of a published set by its name, as for `load_tasks`."""
    return SetSettings(_LIMITS_OF.get(spec.partition("/")[0], _LIMITS))


def make_set_bugs(
    tasks: TaskList, sandbox: Sandbox, settings: SetSettings
) -> tuple[TaskList, list[Bug]]:
    """Return one bug of each task; tasks without one are left out, by name."""
    bugs = make_bugs(tasks, sandbox, settings.corruptions)
    broken = {bug.task.task_id for bug in bugs}
    reason = "no faulty program that fails, or its reference sits near a limit"
    lost = [(str(t.task_id), reason) for t in tasks if t.task_id not in broken]
    kept = [task for task in tasks if task.task_id in broken]
    left_out = (*tasks.left_out, *lost)
    return TaskList(kept, tasks.found, left_out, tasks.changed), bugs
