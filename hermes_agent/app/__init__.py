"""Builds the object graph from settings and owns its lifetime."""
