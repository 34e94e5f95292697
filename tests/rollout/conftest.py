"""Fixtures of this folder."""

from tests.dummies import *  # noqa: F403
