"""Benchmarks of a file of your own, which need no checkout of the repository."""
