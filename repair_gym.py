"""The environment's name in Gymnasium, which imports this for `repair_gym:...`.

Importing this module registers `repair/LineEditor-v0` and opens nothing. One process of
the sandbox is enough for an environment that plays one episode at a time.
"""

import gymnasium

gymnasium.register(
    "repair/LineEditor-v0",
    entry_point="repair.integrations.gym_env:make_env",
    kwargs={"count": 100, "workers": 1},
)
