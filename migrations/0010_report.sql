-- What a run last said of itself, for `status` beside it. Written every few seconds, and worth nothing afterwards.
ALTER TABLE run ADD COLUMN reported_at INTEGER;
ALTER TABLE run ADD COLUMN requests INTEGER;
ALTER TABLE run ADD COLUMN per_second REAL;
ALTER TABLE run ADD COLUMN remaining_ms INTEGER;
ALTER TABLE run ADD COLUMN waiting TEXT;
