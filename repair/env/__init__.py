"""The tool: the line editor, the sandbox, one episode, demonstrations. No jax."""

from repair.env.environment import (
    Environment,
    LineEditor,
    Rewards,
    Tool,
    Turn,
    reset_all,
    step_all,
)
from repair.env.sandbox import Limits, Result, Sandbox, SandboxError

__all__ = [
    "Environment",
    "Limits",
    "LineEditor",
    "Result",
    "Rewards",
    "Sandbox",
    "SandboxError",
    "Tool",
    "Turn",
    "reset_all",
    "step_all",
]
