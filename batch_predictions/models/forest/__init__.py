"""Scores and explains LightGBM models faster than LightGBM: `quickscorer`, `banzhaf`."""
