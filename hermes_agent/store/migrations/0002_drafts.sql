-- Pieces of an answer that is still being written, one row per piece. They turn into one message when
-- the answer ends, and are what a killed process leaves of it.

CREATE TABLE drafts (
    id INTEGER PRIMARY KEY,
    session_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    timestamp REAL NOT NULL
);
CREATE INDEX drafts_session ON drafts (session_id);
