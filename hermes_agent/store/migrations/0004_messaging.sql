-- Messages from and to people. A row of `inbox` is written before the platform is told that the message
-- arrived; it is `done` in the same transaction that puts its answer into `outbox`.

CREATE TABLE inbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    platform TEXT NOT NULL,
    chat_id TEXT NOT NULL,
    message_id TEXT NOT NULL,
    session_key TEXT NOT NULL,
    state TEXT NOT NULL,                 -- waiting, running, done
    payload TEXT NOT NULL,               -- JSON of the message
    received_at REAL NOT NULL,
    finished_at REAL,
    outcome TEXT,
    session_id TEXT,                     -- while running: where
    position INTEGER,                    -- … and how many messages that conversation had before
    attempts INTEGER NOT NULL DEFAULT 0,
    UNIQUE (platform, chat_id, message_id)
);
CREATE INDEX inbox_open ON inbox (id) WHERE state IN ('waiting', 'running');
CREATE INDEX inbox_age ON inbox (finished_at) WHERE state = 'done';

CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,            -- the same thing is never queued twice
    platform TEXT NOT NULL,
    chat_id TEXT NOT NULL,
    thread_id TEXT NOT NULL DEFAULT '',
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,               -- JSON: text, files, buttons
    state TEXT NOT NULL,                 -- waiting, sending, sent, failed, unknown, expired, cancelled
    created_at REAL NOT NULL,
    not_before REAL NOT NULL,
    expires_at REAL,
    updated_at REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    parts_sent INTEGER NOT NULL DEFAULT 0,
    message_ids TEXT NOT NULL DEFAULT '[]',
    part_limit INTEGER,                  -- the size the text was split by at first
    error TEXT
);
CREATE INDEX outbox_open ON outbox (platform, id) WHERE state IN ('waiting', 'sending');
CREATE INDEX outbox_age ON outbox (updated_at) WHERE state NOT IN ('waiting', 'sending');

CREATE TABLE chats (
    session_key TEXT PRIMARY KEY,
    platform TEXT NOT NULL,
    session_id TEXT NOT NULL,
    payload TEXT NOT NULL,               -- JSON: origin, names
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL
);
CREATE INDEX chats_session ON chats (session_id);

CREATE TABLE platform_state (
    platform TEXT NOT NULL,
    name TEXT NOT NULL,                  -- cursor, home_channel, paused
    value TEXT NOT NULL,
    PRIMARY KEY (platform, name)
);

CREATE TABLE chat_approvals (
    id TEXT PRIMARY KEY,
    session_key TEXT NOT NULL,
    approver_id TEXT NOT NULL,
    action TEXT NOT NULL,
    action_hash TEXT NOT NULL,
    state TEXT NOT NULL,                 -- open, once, session, always, deny, expired
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    decided_by TEXT
);
