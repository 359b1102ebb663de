-- What was used on each day, for limits and `hermes insights`. Days are local ones, `YYYY-MM-DD`. Rows stay
-- when their session is deleted: what was spent stays spent.

CREATE TABLE usage_days (
    day TEXT NOT NULL,
    session_id TEXT NOT NULL,
    source TEXT NOT NULL,
    model TEXT NOT NULL,
    requests INTEGER NOT NULL DEFAULT 0,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    cache_read_tokens INTEGER NOT NULL DEFAULT 0,
    cache_write_tokens INTEGER NOT NULL DEFAULT 0,
    reasoning_tokens INTEGER NOT NULL DEFAULT 0,
    cost_usd REAL,
    PRIMARY KEY (day, session_id, model)
);
