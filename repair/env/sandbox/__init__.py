"""Runs untrusted Python against tests, in processes of its own."""

from repair.env.sandbox.pool import Limits, Result, Sandbox, SandboxError

__all__ = ["Limits", "Result", "Sandbox", "SandboxError"]
