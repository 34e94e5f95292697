"""The environment in other trainers. No jax; each file needs its own extra."""
