"""Erases users from a home: one module per kind of file."""
