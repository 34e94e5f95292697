"""Run untrusted Python programs against tests, each in a locked child process."""

from repair.sandbox.isolation import LEVELS, Level
from repair.sandbox.pool import Limits, Sandbox
from repair.sandbox.verdict import Result, sandbox_shares
from repair.sandbox.worker import SandboxError

__all__ = [
    "LEVELS",
    "Level",
    "Limits",
    "Result",
    "Sandbox",
    "SandboxError",
    "sandbox_shares",
]
