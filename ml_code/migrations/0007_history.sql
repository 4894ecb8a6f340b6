-- The log of moves and the rollouts that have ended are history: rows are added, and none is changed or deleted.
-- A move belongs to the rollout that made it, which makes each kind of move once, however often a step is repeated.
ALTER TABLE warehouse.promotion_log ADD COLUMN rollout_id bigint REFERENCES warehouse.rollout;
CREATE UNIQUE INDEX promotion_log_once ON warehouse.promotion_log (rollout_id, action);
COMMENT ON COLUMN warehouse.promotion_log.rollout_id IS 'NULL of a freeze, a move by hand in MLflow, and older rows';
COMMENT ON COLUMN warehouse.promotion_log.who IS 'a signed-in person, and by which program; a DAG with its run alone';
ALTER TABLE warehouse.rollout ADD COLUMN who text;
COMMENT ON COLUMN warehouse.rollout.who IS 'the signed-in person who started it, and by which program; NULL in older rows';
COMMENT ON COLUMN warehouse.rollout.owner IS 'the program that drives it: a DAG with its run, or a command on a machine';

CREATE FUNCTION warehouse.keep_history() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  RAISE insufficient_privilege USING MESSAGE = format(
    '%I.%I: found %s of a row of history, expected new rows only', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP);
END $$;
CREATE TRIGGER keep_history BEFORE UPDATE OR DELETE ON warehouse.promotion_log
  FOR EACH ROW EXECUTE FUNCTION warehouse.keep_history();
CREATE TRIGGER keep_all_history BEFORE TRUNCATE ON warehouse.promotion_log
  FOR EACH STATEMENT EXECUTE FUNCTION warehouse.keep_history();
CREATE TRIGGER keep_history BEFORE UPDATE ON warehouse.rollout
  FOR EACH ROW WHEN (OLD.ended_at IS NOT NULL) EXECUTE FUNCTION warehouse.keep_history();
CREATE TRIGGER keep_rows BEFORE DELETE ON warehouse.rollout
  FOR EACH ROW EXECUTE FUNCTION warehouse.keep_history();
CREATE TRIGGER keep_all_history BEFORE TRUNCATE ON warehouse.rollout
  FOR EACH STATEMENT EXECUTE FUNCTION warehouse.keep_history();

-- What the tasks' role may do. It writes into every table, later ones too, but not into what tells the past: there it
-- adds rows, whose time and number are the server's, and drives rollouts that are under way.
DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'warehouse') THEN
    GRANT USAGE ON SCHEMA warehouse TO warehouse;
    GRANT SELECT, INSERT, UPDATE, DELETE ON warehouse.employees, warehouse.loaded_file, warehouse.weather_forecast
      TO warehouse;
    ALTER DEFAULT PRIVILEGES IN SCHEMA warehouse GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO warehouse;
    GRANT SELECT ON warehouse.schema_version, warehouse.promotion_log, warehouse.rollout TO warehouse;
    GRANT INSERT (model, action, from_version, to_version, who, why, rollout_id) ON warehouse.promotion_log TO warehouse;
    GRANT INSERT (model, kind, from_version, to_version, state, owner, who, run_url, lease_until),
      UPDATE (state, owner, who, run_url, lease_until, reason, figures, updated_at, ended_at)
      ON warehouse.rollout TO warehouse;
  END IF;
END $$;
