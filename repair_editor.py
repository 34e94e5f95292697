"""The plugin `repair-editor`: verifiers finds it by the name of this module."""

from repair.integrations.verifiers_env import (
    ChatHarness,
    RepairEnv,
    RepairTaskset,
    load_environment,
)

__all__ = ["ChatHarness", "RepairEnv", "RepairTaskset", "load_environment"]
