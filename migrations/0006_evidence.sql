-- What verdicts about batches in doubt rest on, and what must outlive a process for that.

-- unfinished_ms: how old the batch was when it was last looked at and not finished, or not shown: a lower bound of its
-- processing time. It only grows.
ALTER TABLE batch ADD COLUMN unfinished_ms INTEGER NOT NULL DEFAULT 0;

-- effect_seen_on: the profile on which a change of this job was observed, so that looks of this kind show changes; NULL
-- where a person ruled. lookups_apart_ms: how far apart the two looks were that showed nothing.
ALTER TABLE absence ADD COLUMN effect_seen_on TEXT;
ALTER TABLE absence ADD COLUMN looks_apart_ms INTEGER;

-- Profiles that were found absent by evidence once. That happens to no profile twice: the second time a person rules.
CREATE TABLE absent_profile (
    profile_id TEXT    PRIMARY KEY,
    absence    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

WITH RECURSIVE member_of (batch, absence) AS (
    SELECT batch, id FROM absence WHERE ruling IS NULL
    UNION SELECT batch.id, member_of.absence FROM batch JOIN member_of ON batch.split_from = member_of.batch
)
INSERT OR IGNORE INTO absent_profile (profile_id, absence)
SELECT entry.profile_id, member_of.absence FROM member_of JOIN entry ON entry.batch = member_of.batch
WHERE entry.profile_id IS NOT NULL;

-- The batches on the first page of the tenant's list when a run began, before it had sent anything.
CREATE TABLE listed_before (
    batch_id TEXT    NOT NULL,
    run      INTEGER NOT NULL,
    PRIMARY KEY (batch_id, run)
) STRICT, WITHOUT ROWID;
