-- One row for each closed window of a version that serves: whether its rows differ from the version's reference.
CREATE TABLE warehouse.drift_window (
  model        text        NOT NULL,
  version      text        NOT NULL,
  window_start timestamptz NOT NULL,
  window_end   timestamptz NOT NULL CHECK (window_end > window_start),
  verdict      text        NOT NULL CHECK (verdict IN ('clean', 'drift', 'quality', 'no verdict')),
  rows         bigint      NOT NULL CHECK (rows >= 0),
  units        bigint      CHECK (units >= 0),
  figures      jsonb       NOT NULL,
  page_uri     text,
  computed_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (model, version, window_start)
);
COMMENT ON COLUMN warehouse.drift_window.verdict IS 'quality: faults of the data itself, by which nothing is retrained';
COMMENT ON COLUMN warehouse.drift_window.units IS 'users of the rows that count; NULL where no user is known';

-- Each window is judged once: the tasks add rows, and change none.
DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'warehouse') THEN
    REVOKE ALL ON warehouse.drift_window FROM warehouse;
    GRANT SELECT ON warehouse.drift_window TO warehouse;
    GRANT INSERT (model, version, window_start, window_end, verdict, rows, units, figures, page_uri)
      ON warehouse.drift_window TO warehouse;
  END IF;
END $$;
