-- One row for every time a job was due. The primary key is what keeps an occurrence from running twice,
-- also when several processes look at the jobs.

CREATE TABLE cron_occurrences (
    job_id TEXT NOT NULL,
    scheduled_at REAL NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    owner TEXT NOT NULL DEFAULT '',
    lease_until REAL,
    started_at REAL,
    finished_at REAL,
    session_id TEXT NOT NULL DEFAULT '',
    output_path TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (job_id, scheduled_at)
) WITHOUT ROWID;
CREATE INDEX cron_occurrences_by_time ON cron_occurrences (scheduled_at);
