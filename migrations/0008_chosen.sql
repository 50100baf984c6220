-- What a person chose for the safety of the job; it holds for every later run until another choice is given by name.
CREATE TABLE chosen (
    only_row   INTEGER PRIMARY KEY CHECK (only_row = 1),
    in_doubt   TEXT    NOT NULL,
    rate       TEXT    NOT NULL,
    reserve    TEXT    NOT NULL,
    confirm    TEXT    NOT NULL,
    batch_size INTEGER NOT NULL,
    chosen_at  INTEGER NOT NULL
) STRICT;

-- options: all that a run was given, as a JSON object. NULL in runs of older versions.
ALTER TABLE run ADD COLUMN options TEXT;
