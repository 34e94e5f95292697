"""`repair-editor`: verifiers finds an environment by the name of a top-level module."""

from repair.integrations.verifiers_env import (
    ChatHarness,
    RepairEnv,
    RepairTaskset,
    load_environment,
)

__all__ = ["ChatHarness", "RepairEnv", "RepairTaskset", "load_environment"]
