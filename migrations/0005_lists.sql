-- Lists as they were read, where they lie, and how each of their rows was written.

-- A list is known by its content and by how it was read: column, header and delimiter. path: where the file was, NULL
-- for stdin and for lists of older ledgers. Of those the header and the delimiter stand in the layout.
CREATE TABLE list_as_read (
    id        INTEGER PRIMARY KEY,
    name      TEXT    NOT NULL,
    path      TEXT,
    layout    TEXT    NOT NULL,
    column_no INTEGER NOT NULL,
    header    INTEGER NOT NULL,
    delimiter TEXT    NOT NULL,
    digest    BLOB    NOT NULL,
    rows      INTEGER NOT NULL,
    entries   INTEGER NOT NULL,
    repeats   INTEGER NOT NULL,
    rejects   INTEGER NOT NULL,
    loaded_at INTEGER NOT NULL,
    UNIQUE (digest, column_no, header, delimiter)
) STRICT;

INSERT INTO list_as_read (id, name, layout, column_no, header, delimiter, digest, rows, entries, repeats, rejects, loaded_at)
SELECT id, name, layout, column_no,
       layout LIKE '%; column %' AND layout NOT LIKE '%; column %, no header',
       CASE WHEN layout LIKE 'TSV%' THEN char(9) WHEN layout LIKE 'CSV, semicolons%' THEN ';'
            WHEN layout LIKE 'CSV, pipes%' THEN '|' ELSE ',' END,
       digest, rows, entries, repeats, rejects, loaded_at
FROM list;

DROP TABLE list;
ALTER TABLE list_as_read RENAME TO list;

-- written: the list's spelling where it differs from the email; NULL also where an older version kept none.
ALTER TABLE repeated ADD COLUMN written TEXT;
CREATE INDEX repeated_spelling ON repeated (entry) WHERE written IS NOT NULL;

-- What was taken out again, and when.
CREATE TABLE unloaded (
    id          INTEGER PRIMARY KEY,
    name        TEXT    NOT NULL,
    path        TEXT,
    digest      BLOB    NOT NULL,
    rows        INTEGER NOT NULL,
    removed     INTEGER NOT NULL,
    loaded_at   INTEGER NOT NULL,
    unloaded_at INTEGER NOT NULL
) STRICT;

CREATE TRIGGER unloaded_stays BEFORE UPDATE ON unloaded BEGIN SELECT RAISE(ABORT, 'unloadings are append-only'); END;
CREATE TRIGGER unloaded_remains BEFORE DELETE ON unloaded BEGIN SELECT RAISE(ABORT, 'unloadings are append-only'); END;
