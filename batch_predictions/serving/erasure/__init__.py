"""Erases users from the serving store and from release files."""
