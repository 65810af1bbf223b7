"""Tiles: partial aggregates that make a night's features cost what is new, not all of history.

`tiles.user_items` has users' days with items in spans of a day, and again in spans of a month, so that
a long history is read from few files. The other tiles are running totals: those of a day are computed
from the newest earlier ones and the raw days after them. Every file carries the fingerprint of the raw
days, the query and the settings that it was made from; one whose fingerprint differs is made again, and
never read.
"""
