-- A walk through all profiles of the tenant: how far it came, and whom of the lists it has seen. Both are emptied when
-- its conclusions stand in the entries.

-- entries: the walk looks for entries up to this one; those that came later were not looked for from the beginning.
-- seen_to: everybody up to this profile id has been seen. place: about how many profiles that are. complete: the walk
-- is at its end, and what it saw is being concluded.
CREATE TABLE scan (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    entries  INTEGER NOT NULL,
    seen_to  TEXT    NOT NULL,
    place    INTEGER NOT NULL,
    complete INTEGER NOT NULL DEFAULT 0,
    began_at INTEGER NOT NULL
) STRICT;

-- held: what the profile held, as the entry keeps it; NULL where what was seen does not settle the entry.
CREATE TABLE sighting (
    entry      INTEGER NOT NULL,
    profile_id TEXT    NOT NULL,
    held       TEXT,
    PRIMARY KEY (entry, profile_id)
) STRICT, WITHOUT ROWID;
