"""The tool: the line editor, the sandbox, one episode, demonstrations. No jax."""

from repair.env.editor import MalformedCommand
from repair.env.environment import (
    Environment,
    LineEditor,
    Rewards,
    Tool,
    Turn,
    reset_all,
    step_all,
)
from repair.env.judge import InProcess, Judge
from repair.env.replay import demonstrate
from repair.env.sandbox import Limits, Result, Sandbox, SandboxError

__all__ = [
    "Environment",
    "InProcess",
    "Judge",
    "Limits",
    "LineEditor",
    "MalformedCommand",
    "Result",
    "Rewards",
    "Sandbox",
    "SandboxError",
    "Tool",
    "Turn",
    "demonstrate",
    "reset_all",
    "step_all",
]
