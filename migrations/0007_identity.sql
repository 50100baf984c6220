-- What tells a file from another one that has its path and its inode, and whether its absence of memory means anything.

-- volume: the file system's own id, with a word for where that comes from. born: when the file was made, in nanoseconds
-- since 1970 UTC. Both are NULL where the system does not tell.
ALTER TABLE meta ADD COLUMN volume TEXT;
ALTER TABLE meta ADD COLUMN born INTEGER;

-- remembered: the lock's file, and the state folder where there is one, have known since then how far the ledger is.
-- went_back: 1 an older state, 2 nothing remembers it any more, 3 a copy of it was adopted since.
ALTER TABLE meta ADD COLUMN remembered INTEGER NOT NULL DEFAULT 0;
