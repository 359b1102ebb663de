"""Matrix: rooms of a home server, also encrypted ones. See docs/platforms/matrix.md."""
