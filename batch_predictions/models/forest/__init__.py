"""LightGBM models scored and explained faster than LightGBM does it; see `scoring` and `parts`."""
