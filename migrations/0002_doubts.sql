-- What decides a batch in doubt, who decided it where evidence could not, and where the ledger was last used:
-- a copy of a ledger must not send what its original may have sent.

-- machine, host, path and inode: where the last run was. went_back: an older state was put in the place of a
-- later one. adopting: a copy is being made fit to send.
ALTER TABLE meta ADD COLUMN machine TEXT;
ALTER TABLE meta ADD COLUMN host TEXT;
ALTER TABLE meta ADD COLUMN path TEXT;
ALTER TABLE meta ADD COLUMN inode INTEGER;
ALTER TABLE meta ADD COLUMN went_back INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN adopting INTEGER NOT NULL DEFAULT 0;

-- newest_batch: the newest in the tenant's list when the run began, empty where it held none. Whatever stands
-- below it was born before anything that the run sent.
ALTER TABLE run ADD COLUMN newest_batch TEXT;

-- oldest_open: the first attempt that was still unanswered when this one left. Batches of earlier attempts were
-- born before it, whatever any clock says.
ALTER TABLE attempt ADD COLUMN oldest_open INTEGER;

-- moved: some member was seen with some of the change while the batch was in doubt. by_size: its batch id was
-- found by size alone, so it could be another one's. quiet_ms: how long nothing may be concluded from absence; it
-- only grows. took_ms: how long the tenant took over it.
ALTER TABLE batch ADD COLUMN moved INTEGER NOT NULL DEFAULT 0;
ALTER TABLE batch ADD COLUMN by_size INTEGER NOT NULL DEFAULT 0;
ALTER TABLE batch ADD COLUMN quiet_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE batch ADD COLUMN took_ms INTEGER;

-- Why a batch was sent again. attempt: the one that never arrived; NULL where it was the original's, if any.
CREATE TABLE absence (
    id           INTEGER PRIMARY KEY,
    batch        INTEGER NOT NULL,
    attempt      INTEGER,
    run          INTEGER NOT NULL,
    quiet_ms     INTEGER NOT NULL,
    members      INTEGER NOT NULL,
    later        TEXT    NOT NULL,
    listed       TEXT    NOT NULL,
    ruling       INTEGER,
    concluded_at INTEGER NOT NULL
) STRICT;

-- What a person decided about a held batch, and about which attempt.
CREATE TABLE ruling (
    id       INTEGER PRIMARY KEY,
    batch    INTEGER NOT NULL,
    attempt  INTEGER,
    verdict  TEXT    NOT NULL CHECK (verdict IN ('sent', 'absent')),
    person   TEXT    NOT NULL,
    because  TEXT    NOT NULL,
    ruled_at INTEGER NOT NULL
) STRICT;

CREATE TABLE adoption (
    id         INTEGER PRIMARY KEY,
    why        TEXT    NOT NULL,
    from_host  TEXT,
    from_path  TEXT,
    adopted_at INTEGER NOT NULL
) STRICT;

CREATE TRIGGER absence_stays BEFORE UPDATE ON absence BEGIN SELECT RAISE(ABORT, 'absences are append-only'); END;
CREATE TRIGGER absence_remains BEFORE DELETE ON absence BEGIN SELECT RAISE(ABORT, 'absences are append-only'); END;
CREATE TRIGGER ruling_stays BEFORE UPDATE ON ruling BEGIN SELECT RAISE(ABORT, 'rulings are append-only'); END;
CREATE TRIGGER ruling_remains BEFORE DELETE ON ruling BEGIN SELECT RAISE(ABORT, 'rulings are append-only'); END;
CREATE TRIGGER adoption_stays BEFORE UPDATE ON adoption BEGIN SELECT RAISE(ABORT, 'adoptions are append-only'); END;
CREATE TRIGGER adoption_remains BEFORE DELETE ON adoption BEGIN SELECT RAISE(ABORT, 'adoptions are append-only'); END;

CREATE INDEX answer_batch_id ON answer (batch_id) WHERE batch_id IS NOT NULL;
CREATE INDEX batch_batch_id ON batch (batch_id) WHERE batch_id IS NOT NULL;
CREATE INDEX attempt_batch ON attempt (batch);
CREATE INDEX absence_batch ON absence (batch);
CREATE INDEX ruling_batch ON ruling (batch);
