-- Batches in the tenant's list of which a person said that they are over, by the tenant's own id.
CREATE TABLE over_ruling (
    batch_id TEXT    PRIMARY KEY,
    person   TEXT    NOT NULL,
    because  TEXT    NOT NULL,
    ruled_at INTEGER NOT NULL
) STRICT;
