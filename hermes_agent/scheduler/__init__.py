"""Scheduled jobs: when they are due, running them, and delivering what they say."""
