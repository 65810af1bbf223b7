"""The serving store: its schema, connections, bulk copies and read snapshots."""
