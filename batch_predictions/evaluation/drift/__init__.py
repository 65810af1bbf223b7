"""Drift: how much features and predictions of a day differ from those that models were trained on.

`columns` chooses what is compared, `bins` counts a day's rows, `histograms` keeps them in the bins
of the training (`evaluation.histograms`), `drift_statistics` compares two histograms, and `compute`
makes `evaluation.drift` of them.
"""
