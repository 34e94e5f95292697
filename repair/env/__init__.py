"""The environment: editor, state text, rewards, episodes, verifier. No jax."""

from repair.env.batch import reset_all, step_all
from repair.env.editor import MalformedCommand
from repair.env.environment import Environment, StepResult
from repair.env.rewards import Rewards
from repair.env.tools import LineEditor, Tool
from repair.env.verifier import FunctionVerifier, Verifier
from repair.sandbox import Limits, Result, Sandbox, SandboxError

__all__ = [
    "Environment",
    "FunctionVerifier",
    "Limits",
    "LineEditor",
    "MalformedCommand",
    "Result",
    "Rewards",
    "Sandbox",
    "SandboxError",
    "StepResult",
    "Tool",
    "Verifier",
    "reset_all",
    "step_all",
]
