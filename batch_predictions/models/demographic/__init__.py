"""The fallback for users without predictions: what users of their segment want, and when."""
