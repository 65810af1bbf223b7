"""Compiled loops and the network of the forecasters; import them only inside functions."""
