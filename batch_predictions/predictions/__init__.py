"""The declarations of predictions, one per module. A further prediction is one more file."""
