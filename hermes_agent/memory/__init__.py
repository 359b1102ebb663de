"""Memory kept in two files that people can read and edit: MEMORY.md and USER.md."""
