"""Number of processor cores that this process may use."""

import math
import os
import pathlib

_CGROUP = pathlib.Path("/sys/fs/cgroup")


def available_cores(cgroup: pathlib.Path = _CGROUP) -> int:
    """Return the cores that affinity and the control group's quota leave, at least 1.

    Args:
      cgroup: Root of the control groups, of version 2 (`cpu.max`) or 1.
    """
    count = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    return max(1, math.floor(min(count, _quota(cgroup))))


def _quota(cgroup: pathlib.Path) -> float:
    """Return the quota in cores; infinite without one."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        folder = cgroup / "cpu"
        try:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        except OSError:
            return math.inf
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return math.inf  # "max"
    return cores if cores > 0 else math.inf
