-- One row for each attempt to train a model again after drift or a decline: what called for it, and what came out.
-- An attempt without an end is under way, or its version waits for a person.
CREATE TABLE warehouse.retraining (
  retraining_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  model text NOT NULL,
  owner text NOT NULL UNIQUE,
  asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  cause text NOT NULL CHECK (cause IN ('drift', 'decline')),
  reason text NOT NULL,
  since timestamptz NOT NULL,
  until timestamptz NOT NULL CHECK (until > since),
  labels bigint NOT NULL CHECK (labels >= 0),
  rows_file text,
  outcome text CHECK (outcome IN ('promoted', 'held', 'rejected', 'failed')),
  version text,
  verdict text,
  ended_at timestamptz
);
CREATE UNIQUE INDEX retraining_one_active ON warehouse.retraining (model) WHERE ended_at IS NULL;
CREATE INDEX ON warehouse.retraining (model, retraining_id);
COMMENT ON COLUMN warehouse.retraining.owner IS 'the run of the DAG; a task that runs again finds its attempt by it';
COMMENT ON COLUMN warehouse.retraining.since IS 'start of the first window that called for it';
COMMENT ON COLUMN warehouse.retraining.labels IS 'labels of these windows that came after the attempt before';
COMMENT ON COLUMN warehouse.retraining.outcome IS 'held: its version waits for a person; NULL: under way';

CREATE TRIGGER keep_history BEFORE UPDATE ON warehouse.retraining
  FOR EACH ROW WHEN (OLD.ended_at IS NOT NULL) EXECUTE FUNCTION warehouse.keep_history();
CREATE TRIGGER keep_rows BEFORE DELETE ON warehouse.retraining
  FOR EACH ROW EXECUTE FUNCTION warehouse.keep_history();
CREATE TRIGGER keep_all_history BEFORE TRUNCATE ON warehouse.retraining
  FOR EACH STATEMENT EXECUTE FUNCTION warehouse.keep_history();

DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'warehouse') THEN
    REVOKE ALL ON warehouse.retraining FROM warehouse;
    GRANT SELECT ON warehouse.retraining TO warehouse;
    GRANT INSERT (model, owner, cause, reason, since, until, labels),
      UPDATE (rows_file, outcome, version, verdict, ended_at) ON warehouse.retraining TO warehouse;
  END IF;
END $$;
