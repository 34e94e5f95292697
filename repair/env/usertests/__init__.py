"""Reader of a user's tests: split for the sandbox, and checked for mistakes."""
