"""Sides of `benchmarks.peers`, each in processes of its own."""
