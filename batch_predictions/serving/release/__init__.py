"""Releases: their contents, publishing, the pointer to the current one, pruning of old ones."""
