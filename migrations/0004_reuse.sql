-- What was taken from the ledger of an earlier job at the same tenant instead of being looked up, and how old it is.

-- reused: when the other ledger looked the entry up. reuse: which taking-over that was. Both are NULL where the entry
-- was looked up here.
ALTER TABLE entry ADD COLUMN reused INTEGER;
ALTER TABLE entry ADD COLUMN reuse INTEGER;

-- ledger_id: the other ledger's own. taken: how many entries.
CREATE TABLE reuse (
    id        INTEGER PRIMARY KEY,
    ledger_id TEXT    NOT NULL,
    path      TEXT    NOT NULL,
    taken     INTEGER NOT NULL,
    taken_at  INTEGER NOT NULL
) STRICT;

CREATE TRIGGER reuse_stays BEFORE UPDATE ON reuse BEGIN SELECT RAISE(ABORT, 'takings-over are append-only'); END;
CREATE TRIGGER reuse_remains BEFORE DELETE ON reuse BEGIN SELECT RAISE(ABORT, 'takings-over are append-only'); END;
