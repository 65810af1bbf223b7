"""Drift: how much features and predictions of a day differ from those that models were trained on.

`statistics` compares two samples, `columns` chooses what is compared and reads it, `asset` writes
`evaluation.drift`.
"""
