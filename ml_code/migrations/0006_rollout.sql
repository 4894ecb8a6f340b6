-- A rollout, an A/B test or a rollback of a model: from which version to which, how far it is and who drives it.
-- Whoever drives it renews the lease; when that is over, another run may take it over.
CREATE TABLE warehouse.rollout (
  rollout_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  model text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('rollout', 'ab', 'rollback')),
  from_version text,
  to_version text NOT NULL,
  state text NOT NULL,
  lease_until timestamptz NOT NULL,
  owner text NOT NULL,
  run_url text,
  reason text NOT NULL DEFAULT '',
  figures jsonb NOT NULL DEFAULT '{}',
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  ended_at timestamptz
);
CREATE UNIQUE INDEX rollout_one_active ON warehouse.rollout (model) WHERE ended_at IS NULL;
CREATE INDEX ON warehouse.rollout (model, rollout_id);
COMMENT ON COLUMN warehouse.rollout.owner IS 'a person as user@host, or a DAG with its run as dag_id/run_id';
