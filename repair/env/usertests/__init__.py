"""A user's own tests: read, turned into what the sandbox runs, and doubted."""
