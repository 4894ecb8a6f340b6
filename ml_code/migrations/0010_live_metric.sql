-- How good the answers of a version were in a window of prediction time, by the labels that are known. A window is
-- measured again when its labels change, so rows are replaced. An empty slice means all rows of the window.
CREATE TABLE warehouse.live_metric (
  model text NOT NULL,
  version text NOT NULL,
  variant text NOT NULL,
  window_start timestamptz NOT NULL,
  window_end timestamptz NOT NULL,
  slice text NOT NULL,
  metric text NOT NULL,
  score double precision,
  low double precision,
  high double precision,
  rows bigint NOT NULL,
  labelled bigint NOT NULL,
  coverage double precision NOT NULL,
  holdout double precision,
  holdout_low double precision,
  holdout_high double precision,
  estimated_accuracy double precision,
  labels_digest text NOT NULL,
  has_few_labels boolean NOT NULL DEFAULT false,
  computed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (model, window_end, window_start, version, variant, slice),
  CHECK (window_start < window_end),
  CHECK (labelled <= rows)
);
COMMENT ON COLUMN warehouse.live_metric.coverage IS 'share of the answers whose label is known';
COMMENT ON COLUMN warehouse.live_metric.estimated_accuracy IS
  'mean of the confidence, calibrated on the holdout; assumes that the rule of the labels has not changed';
COMMENT ON COLUMN warehouse.live_metric.labels_digest IS 'of the labels that were known; others mean a new measurement';
COMMENT ON COLUMN warehouse.live_metric.has_few_labels IS 'less than half of the coverage that earlier windows had';
