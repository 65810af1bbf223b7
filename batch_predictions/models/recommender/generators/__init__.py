"""Candidate generators, a file each: the class, its parameters and its declaration."""
