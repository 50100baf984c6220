-- The first ledger: one file is one job, and every line of every list can be found in it again.
--
-- Codes of entry.state and batch.state are those of src/model; times are milliseconds since 1970 UTC.
-- Indexes that the load would have to keep up row by row are made by the load itself, after the rows
-- (src/ledger/load.rs); they are declared here for a ledger that grows later.

-- epoch: raised by every process that opens the ledger for writing and checked by each transaction of a
-- run, so that a process that was thought dead cannot write into its successor's work.
CREATE TABLE meta (
    only_row   INTEGER PRIMARY KEY CHECK (only_row = 1),
    ledger_id  TEXT    NOT NULL,
    epoch      INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

INSERT INTO meta (only_row, ledger_id, epoch, created_at)
VALUES (1, lower(hex(randomblob(16))), 0, CAST(unixepoch('subsec') * 1000 AS INTEGER));

-- What the ledger is pinned to. confirmed_entries: up to how many entries somebody has said yes to.
CREATE TABLE job (
    only_row          INTEGER PRIMARY KEY CHECK (only_row = 1),
    tenant            TEXT    NOT NULL,
    action            TEXT    NOT NULL CHECK (action IN ('assign', 'remove')),
    handles           TEXT    NOT NULL,
    pinned_at         INTEGER NOT NULL,
    confirmed_entries INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE run (
    id         INTEGER PRIMARY KEY,
    verb       TEXT    NOT NULL,
    version    TEXT    NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER,
    ending     TEXT
) STRICT;

-- rows = entries + repeats + rejects, always. A list is known by its content and its column, not by its name.
CREATE TABLE list (
    id        INTEGER PRIMARY KEY,
    name      TEXT    NOT NULL,
    layout    TEXT    NOT NULL,
    column_no INTEGER NOT NULL,
    digest    BLOB    NOT NULL,
    rows      INTEGER NOT NULL,
    entries   INTEGER NOT NULL,
    repeats   INTEGER NOT NULL,
    rejects   INTEGER NOT NULL,
    loaded_at INTEGER NOT NULL,
    UNIQUE (digest, column_no)
) STRICT;

-- email is trimmed and case-folded, as it is compared; written is the list's spelling where that differs.
CREATE TABLE entry (
    id          INTEGER PRIMARY KEY,
    email       TEXT    NOT NULL,
    written     TEXT,
    list        INTEGER NOT NULL,
    line        INTEGER NOT NULL,
    occurrences INTEGER NOT NULL DEFAULT 1,
    state       INTEGER NOT NULL DEFAULT 0,
    reason      TEXT,
    detail      TEXT,
    profile_id  TEXT,
    held        TEXT,
    batch       INTEGER,
    evidence    TEXT,
    resolved_at INTEGER,
    settled_at  INTEGER
) STRICT;

CREATE UNIQUE INDEX entry_email ON entry (email);
CREATE INDEX entry_pending ON entry (id) WHERE state = 0;
CREATE INDEX entry_resolved ON entry (id) WHERE state = 1;
CREATE INDEX entry_batch ON entry (batch) WHERE batch IS NOT NULL;

-- Two emails that lead to one profile must not send it the same handle twice.
CREATE UNIQUE INDEX entry_profile ON entry (profile_id) WHERE state IN (1, 2, 3, 6) AND profile_id IS NOT NULL;

CREATE TABLE repeated (
    list  INTEGER NOT NULL,
    line  INTEGER NOT NULL,
    entry INTEGER NOT NULL
) STRICT;

CREATE TABLE reject (
    list    INTEGER NOT NULL,
    line    INTEGER NOT NULL,
    reason  TEXT    NOT NULL,
    detail  TEXT    NOT NULL,
    excerpt TEXT    NOT NULL
) STRICT;

CREATE TABLE candidate (
    entry      INTEGER NOT NULL,
    profile_id TEXT    NOT NULL,
    PRIMARY KEY (entry, profile_id)
) STRICT, WITHOUT ROWID;

-- rung: which evidence decided a batch that was in doubt. split_from: the refused batch whose members these were.
CREATE TABLE batch (
    id            INTEGER PRIMARY KEY,
    state         INTEGER NOT NULL,
    size          INTEGER NOT NULL,
    split_from    INTEGER,
    batch_id      TEXT,
    rung          TEXT,
    tenant_status TEXT,
    detail        TEXT,
    sampled       INTEGER NOT NULL DEFAULT 0,
    sealed_at     INTEGER NOT NULL,
    sent_at       INTEGER,
    answered_at   INTEGER,
    settled_at    INTEGER
) STRICT;

CREATE INDEX batch_open ON batch (id) WHERE state NOT IN (3, 4);

-- Attempts and answers are append-only: an attempt without an answer is one whose fate nobody saw.
CREATE TABLE attempt (
    id      INTEGER PRIMARY KEY,
    batch   INTEGER NOT NULL,
    run     INTEGER NOT NULL,
    members INTEGER NOT NULL,
    sent_at INTEGER NOT NULL
) STRICT;

CREATE TABLE answer (
    attempt     INTEGER PRIMARY KEY,
    class       TEXT    NOT NULL,
    batch_id    TEXT,
    detail      TEXT,
    answered_at INTEGER NOT NULL
) STRICT;

CREATE TRIGGER attempt_stays BEFORE UPDATE ON attempt BEGIN SELECT RAISE(ABORT, 'attempts are append-only'); END;
CREATE TRIGGER attempt_remains BEFORE DELETE ON attempt BEGIN SELECT RAISE(ABORT, 'attempts are append-only'); END;
CREATE TRIGGER answer_stays BEFORE UPDATE ON answer BEGIN SELECT RAISE(ABORT, 'answers are append-only'); END;
CREATE TRIGGER answer_remains BEFORE DELETE ON answer BEGIN SELECT RAISE(ABORT, 'answers are append-only'); END;

-- How many entries are in which state, kept in the same transaction as the entries: counting them takes
-- seconds in a large ledger, and `status` must answer at once. reason: for confirmed entries, the evidence.
CREATE TABLE tally (
    state   INTEGER NOT NULL,
    reason  TEXT    NOT NULL,
    entries INTEGER NOT NULL,
    PRIMARY KEY (state, reason)
) STRICT, WITHOUT ROWID;
