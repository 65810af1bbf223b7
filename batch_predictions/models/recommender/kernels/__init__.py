"""Compiled loops over scores and candidates.

Importing a module here imports numba, so import them inside functions only.
"""
