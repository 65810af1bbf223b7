"""Publishing a release: its contents, the pointer that moves to it, what is removed afterwards."""
