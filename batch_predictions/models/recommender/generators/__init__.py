"""Candidate generators, a file each: the class, its parameters and its declarations.

`base` says what a generator is, `generator_registry` finds all of them; `neighbour_tables` and
`item_weights` are what several share. A plugin adds a generator by a file like these.
"""
