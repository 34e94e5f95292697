"""Fixtures of this folder."""

from tests.dummies import compile_quickly, make  # noqa: F401
