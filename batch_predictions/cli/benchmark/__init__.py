"""`batch-predictions benchmark …`: commands that measure this machine, or a file of one's own."""
