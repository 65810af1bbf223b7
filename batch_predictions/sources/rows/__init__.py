"""Rows with named columns, of files and databases: their mapping to raw tables, and their days."""
