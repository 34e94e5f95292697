"""The environment's name in Gymnasium, which calls this while it is imported."""

from gymnasium.envs.registration import register


def register_env() -> None:
    """Register LineEditor-v0 in Gymnasium's current namespace; opens nothing yet.

    The entry point `gymnasium.envs` of the distribution leads here and names the
    namespace, so that the id is `repair/LineEditor-v0`. One process of the sandbox is
    enough for an environment that plays one episode at a time.
    """
    register(
        "LineEditor-v0",
        entry_point="repair.integrations.gym_env:make_env",
        kwargs={"count": 100, "workers": 1},
    )
