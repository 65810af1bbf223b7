"""Realized metrics: earlier predictions compared with what happened since, every day."""
