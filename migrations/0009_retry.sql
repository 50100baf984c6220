-- Failed entries that were taken up again, as they were before.

-- batch: the batch of which it was a member until then. person, because: who decided and why, where the tenant had
-- accepted that batch; NULL where it never had.
CREATE TABLE retry (
    id         INTEGER PRIMARY KEY,
    entry      INTEGER NOT NULL,
    batch      INTEGER,
    profile_id TEXT,
    reason     TEXT,
    detail     TEXT,
    person     TEXT,
    because    TEXT,
    retried_at INTEGER NOT NULL
) STRICT;

CREATE INDEX retry_batch ON retry (batch) WHERE batch IS NOT NULL;

CREATE TRIGGER retry_stays BEFORE UPDATE ON retry BEGIN SELECT RAISE(ABORT, 'retries are append-only'); END;
CREATE TRIGGER retry_remains BEFORE DELETE ON retry BEGIN SELECT RAISE(ABORT, 'retries are append-only'); END;
