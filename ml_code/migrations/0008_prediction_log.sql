-- Collections of the prediction log. A row is written when all segments that were free at `began_at` lie in the store,
-- so the log is complete until shortly before the newest one.
CREATE TABLE warehouse.prediction_collection (
  collection text PRIMARY KEY,
  began_at timestamptz NOT NULL,
  committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  segments integer NOT NULL,
  rows bigint NOT NULL,
  dropped bigint NOT NULL,
  torn integer NOT NULL,
  unreadable integer NOT NULL
);
COMMENT ON COLUMN warehouse.prediction_collection.dropped IS 'answered rows that the replicas lost, such as on a full disk';
COMMENT ON COLUMN warehouse.prediction_collection.torn IS 'segments that end in the middle of a line';
COMMENT ON COLUMN warehouse.prediction_collection.unreadable IS 'lines of no known format, kept beside the segments';
CREATE INDEX ON warehouse.prediction_collection (began_at);

-- What a collection brought of each model and schema (the digest of the features' names and kinds).
CREATE TABLE warehouse.prediction_batch (
  collection text NOT NULL REFERENCES warehouse.prediction_collection,
  model text NOT NULL,
  schema text NOT NULL,
  rows bigint NOT NULL,
  refused bigint NOT NULL,
  first_time timestamptz NOT NULL,
  last_time timestamptz NOT NULL,
  bytes bigint NOT NULL,
  PRIMARY KEY (collection, model, schema)
);
COMMENT ON COLUMN warehouse.prediction_batch.refused IS 'requests that a version refused; they are no answered rows';
CREATE INDEX ON warehouse.prediction_batch (model, last_time);
