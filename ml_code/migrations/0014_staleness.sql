-- How well each of the last versions that served would have answered the newest labelled requests. Each closed window is
-- measured once. A version that cannot answer them has a problem in place of a score.
CREATE TABLE warehouse.staleness (
  model       text        NOT NULL,
  window_end  timestamptz NOT NULL,
  version     text        NOT NULL,
  is_champion boolean     NOT NULL,
  age_days    double precision CHECK (age_days >= 0),
  metric      text        NOT NULL,
  score       double precision,
  low         double precision,
  high        double precision,
  rows        bigint      NOT NULL CHECK (rows > 0),
  rows_since  timestamptz NOT NULL,
  problem     text,
  page_uri    text        NOT NULL,
  computed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (model, window_end, version),
  CHECK ((score IS NULL) = (problem IS NOT NULL))
);
COMMENT ON COLUMN warehouse.staleness.age_days IS 'from its registration to the end of the window; NULL if unknown';
COMMENT ON COLUMN warehouse.staleness.rows IS 'labelled answers that no version has learnt; the same for each version';

DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'warehouse') THEN
    REVOKE ALL ON warehouse.staleness FROM warehouse;
    GRANT SELECT ON warehouse.staleness TO warehouse;
    GRANT INSERT (model, window_end, version, is_champion, age_days, metric, score, low, high, rows, rows_since, problem,
      page_uri) ON warehouse.staleness TO warehouse;
  END IF;
END $$;
