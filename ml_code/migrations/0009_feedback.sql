-- What a collection of labels brought, by model; the model is empty where a label names no known row.
CREATE TABLE warehouse.feedback_batch (
  batch text NOT NULL,
  model text NOT NULL,
  labels bigint NOT NULL,
  duplicate bigint NOT NULL,
  corrected bigint NOT NULL,
  unknown bigint NOT NULL,
  mistyped bigint NOT NULL,
  too_late bigint NOT NULL,
  implausible bigint NOT NULL,
  refused bigint NOT NULL,
  committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (batch, model)
);
COMMENT ON COLUMN warehouse.feedback_batch.labels IS 'kept labels; duplicate and corrected ones are among them';
COMMENT ON COLUMN warehouse.feedback_batch.implausible IS 'observed before the prediction';
COMMENT ON COLUMN warehouse.feedback_batch.refused IS 'of a request that the version refused to answer';

-- Which tokens' labels count no more: history, of which the newest row of a model and token holds.
CREATE TABLE warehouse.label_token (
  label_token_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  model text NOT NULL,
  token text NOT NULL,
  action text NOT NULL CHECK (action IN ('drop', 'restore')),
  who text NOT NULL,
  moved_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON COLUMN warehouse.label_token.action IS 'drop: labels received until then count no more; restore: all count again';
CREATE INDEX ON warehouse.label_token (model, label_token_id);
CREATE TRIGGER keep_history BEFORE UPDATE OR DELETE ON warehouse.label_token
  FOR EACH ROW EXECUTE FUNCTION warehouse.keep_history();
CREATE TRIGGER keep_all_history BEFORE TRUNCATE ON warehouse.label_token
  FOR EACH STATEMENT EXECUTE FUNCTION warehouse.keep_history();
DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'warehouse') THEN
    REVOKE ALL ON warehouse.label_token FROM warehouse;
    GRANT SELECT, INSERT (model, token, action, who) ON warehouse.label_token TO warehouse;
  END IF;
END $$;
