-- Later checks of what was confirmed: what each looked at, and what had changed since.

-- everybody: whether all confirmed entries were looked at, and not a sample. confirmed: how many there were. unanswered: of
-- how many the tenant could not tell. complete: 0 where it was stopped.
CREATE TABLE verification (
    id         INTEGER PRIMARY KEY,
    everybody  INTEGER NOT NULL,
    confirmed  INTEGER NOT NULL,
    checked    INTEGER NOT NULL,
    unanswered INTEGER NOT NULL,
    complete   INTEGER NOT NULL,
    began_at   INTEGER NOT NULL,
    ended_at   INTEGER NOT NULL
) STRICT;

-- The entries that a sample looked at, so that a later check can look at the same ones.
CREATE TABLE verified (
    verification INTEGER NOT NULL,
    entry        INTEGER NOT NULL,
    PRIMARY KEY (verification, entry)
) STRICT, WITHOUT ROWID;

CREATE TABLE drift (
    verification INTEGER NOT NULL,
    entry        INTEGER NOT NULL,
    kind         TEXT    NOT NULL,
    detail       TEXT,
    PRIMARY KEY (verification, entry)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER drift_stays BEFORE UPDATE ON drift BEGIN SELECT RAISE(ABORT, 'drifts are append-only'); END;
CREATE TRIGGER drift_remains BEFORE DELETE ON drift BEGIN SELECT RAISE(ABORT, 'drifts are append-only'); END;
