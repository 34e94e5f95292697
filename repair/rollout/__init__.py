"""The inference engine and the collection of rollouts."""
