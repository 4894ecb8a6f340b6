-- Whether the end of a rollout is a verdict on its version, or came from elsewhere: a cancellation, a freeze, a move by
-- hand. Older rows tell by their reason. A tag in MLflow says the same to people, and anybody who writes there may change it.
ALTER TABLE warehouse.rollout ADD COLUMN is_verdict boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN warehouse.rollout.is_verdict IS 'the end in state tells about to_version: it is promoted, or to blame';

ALTER TABLE warehouse.rollout DISABLE TRIGGER keep_history;
UPDATE warehouse.rollout SET is_verdict = true
WHERE kind <> 'rollback' AND ended_at IS NOT NULL AND (
  state IN ('promoted', 'compared')
  OR state = 'aborted' AND NOT reason ~ ('^version [0-9]+ takes its place|it was moved by hand|^frozen by |^not signed: |'
    || '^approved by .*, who asked for ')
);
ALTER TABLE warehouse.rollout ENABLE TRIGGER keep_history;

DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'warehouse') THEN
    GRANT UPDATE (is_verdict) ON warehouse.rollout TO warehouse;
  END IF;
END $$;
