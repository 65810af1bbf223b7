"""The predictions: one declaration a module. A further one is one more file."""
