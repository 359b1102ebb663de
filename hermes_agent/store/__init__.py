"""SQLite: one writer thread per process. Nobody else imports sqlite3."""
