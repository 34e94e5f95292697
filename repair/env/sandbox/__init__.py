"""Runs untrusted Python against tests, in processes of its own."""

from repair.env.sandbox.pool import Limits, Sandbox
from repair.env.sandbox.verdict import Result
from repair.env.sandbox.worker import SandboxError

__all__ = ["Limits", "Result", "Sandbox", "SandboxError"]
