"""The engine in Dagster: a declared prediction becomes an asset of three ops."""
