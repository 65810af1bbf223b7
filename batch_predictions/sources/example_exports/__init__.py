"""Exports as other systems write them, made up, to try the platform with: `init --example`."""
