"""Runs untrusted Python against tests, in processes of its own."""

from repair.env.sandbox.level import LEVELS, Level
from repair.env.sandbox.pool import Limits, Sandbox, sandbox_shares
from repair.env.sandbox.verdict import Result
from repair.env.sandbox.worker import SandboxError

__all__ = [
    "LEVELS",
    "Level",
    "Limits",
    "Result",
    "Sandbox",
    "SandboxError",
    "sandbox_shares",
]
