"""The engine in Dagster: a declaration becomes an asset of three ops; handles pass between them."""
