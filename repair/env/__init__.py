"""The tool: the line editor, the sandbox, one episode, demonstrations. No jax."""
