"""A platform for tests and demonstrations: chats behind a small HTTP API on this machine."""
