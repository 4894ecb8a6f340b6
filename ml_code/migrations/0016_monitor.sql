-- What the monitoring reads: figures and times, and nothing that a person wrote or that tells of a row.
DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'monitor') THEN
    GRANT USAGE ON SCHEMA warehouse TO monitor;
    GRANT SELECT (move_id, moved_at, model, action, to_version) ON warehouse.promotion_log TO monitor;
    GRANT SELECT (began_at, rows, dropped, torn, unreadable) ON warehouse.prediction_collection TO monitor;
    GRANT SELECT (model, version, variant, window_end, slice, metric, score, low, high, rows, labelled, coverage, holdout,
      has_few_labels) ON warehouse.live_metric TO monitor;
    GRANT SELECT (model, version, window_end, verdict, rows) ON warehouse.drift_window TO monitor;
  END IF;
END $$;
