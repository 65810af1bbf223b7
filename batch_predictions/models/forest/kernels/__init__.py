"""Compiled loops over trees and rows.

Importing a module here imports numba, so import them inside functions only.
"""
