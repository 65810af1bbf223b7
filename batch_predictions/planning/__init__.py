"""Finds what a run has to do: what is missing, damaged or out of date."""
