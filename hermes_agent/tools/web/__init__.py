"""Searching and reading the web."""
