"""The environment as other trainers expect it. No jax; each file needs its extra."""
