"""Generated tasks: small functions from templates, with tests that tell near misses."""

from repair.tasks.generated.generator import COUNTS, generate

__all__ = ["COUNTS", "generate"]
