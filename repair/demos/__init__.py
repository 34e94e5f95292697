"""Demonstrations: broken programs with the edits that repair them. No jax."""

from repair.demos.replay import demonstrate

__all__ = ["demonstrate"]
