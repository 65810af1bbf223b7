"""What a row must satisfy: column mapping, types and ranges, timestamps, repeated ids."""
