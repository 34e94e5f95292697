"""The plugin `repair-editor`: verifiers finds it by the name of this module."""

from repair.integrations.verifiers_env import (
    ChatHarness,
    RepairTaskset,
    RepairVerifiersEnv,
    load_environment,
)

__all__ = ["ChatHarness", "RepairVerifiersEnv", "RepairTaskset", "load_environment"]
