-- part: which sheet of a workbook was read, or which key of JSON, as its path; empty for other lists. It belongs to what a
-- list is known by. The delimiter is empty where nothing separates cells.
CREATE TABLE list_of_parts (
    id        INTEGER PRIMARY KEY,
    name      TEXT    NOT NULL,
    path      TEXT,
    layout    TEXT    NOT NULL,
    column_no INTEGER NOT NULL,
    header    INTEGER NOT NULL,
    delimiter TEXT    NOT NULL,
    part      TEXT    NOT NULL,
    digest    BLOB    NOT NULL,
    rows      INTEGER NOT NULL,
    entries   INTEGER NOT NULL,
    repeats   INTEGER NOT NULL,
    rejects   INTEGER NOT NULL,
    loaded_at INTEGER NOT NULL,
    UNIQUE (digest, column_no, header, delimiter, part)
) STRICT;

INSERT INTO list_of_parts (id, name, path, layout, column_no, header, delimiter, part, digest, rows, entries, repeats, rejects,
                           loaded_at)
SELECT id, name, path, layout, column_no, header, delimiter, '', digest, rows, entries, repeats, rejects, loaded_at FROM list;

DROP TABLE list;
ALTER TABLE list_of_parts RENAME TO list;
