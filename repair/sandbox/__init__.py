"""Run untrusted Python programs against tests, each in a locked child process."""

from repair.sandbox.isolation import LEVELS, Level
from repair.sandbox.limits import Limits
from repair.sandbox.pool import Sandbox
from repair.sandbox.verdict import Result, sandbox_shares, trust_of
from repair.sandbox.worker import SandboxError

__all__ = [
    "LEVELS",
    "Level",
    "Limits",
    "Result",
    "Sandbox",
    "SandboxError",
    "sandbox_shares",
    "trust_of",
]
