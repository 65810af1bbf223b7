"""The commands, one file each or one for a group; every one declares itself by `@command`."""
