-- Who moved which alias of a model, when and why; a model is frozen if its last freeze or unfreeze is a freeze.
CREATE TABLE warehouse.promotion_log (
  move_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  moved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  model text NOT NULL,
  action text NOT NULL CHECK (action IN ('promote', 'rollback', 'freeze', 'unfreeze')),
  from_version text,
  to_version text,
  who text NOT NULL,
  why text NOT NULL,
  CHECK ((action IN ('promote', 'rollback')) = (to_version IS NOT NULL))
);
CREATE INDEX ON warehouse.promotion_log (model, move_id);
COMMENT ON COLUMN warehouse.promotion_log.who IS 'a person as user@host, or a DAG with its run as dag_id/run_id';
