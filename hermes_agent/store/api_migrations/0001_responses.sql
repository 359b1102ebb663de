-- The first two tables are those of the older agent; what `data` holds differs, and rows without an owner
-- are left alone until they are pushed out.

CREATE TABLE IF NOT EXISTS responses (
    response_id TEXT PRIMARY KEY,
    data TEXT NOT NULL,
    accessed_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS responses_accessed ON responses (accessed_at);
CREATE TABLE IF NOT EXISTS conversations (
    name TEXT PRIMARY KEY,
    response_id TEXT NOT NULL
);
CREATE TABLE session_names (
    name TEXT PRIMARY KEY,
    session_id TEXT NOT NULL,
    used_at REAL NOT NULL
);
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at REAL NOT NULL,
    facts TEXT NOT NULL
);
CREATE INDEX runs_created ON runs (created_at);
CREATE TABLE run_events (
    run_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (run_id, number)
) WITHOUT ROWID;
