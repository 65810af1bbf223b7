"""Drift: how much features and predictions of a day differ from those that models were trained on.

`histograms` counts a day's rows in the bins of the training (`evaluation.histograms`); `compute`
chooses what is compared, compares two histograms, and makes `evaluation.drift` of them.
"""
