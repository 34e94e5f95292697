"""The two training stages, and what both need: losses, checkpoints, evaluation."""
