"""Asking a person in the terminal: lists, check lists, text, secrets."""
