"""Tiles: partial aggregates that make a night's features cost what is new, not all of history.

Some tiles have the rows of days in spans of a day, and again in spans of a month, so that a long
history is read from few files. The others are running totals: those of a day are computed from the
newest earlier ones and the raw days after them. Every file carries the fingerprint of the raw days,
the query and the settings that it was made from; one whose fingerprint differs is made again, and
is never read.
"""
