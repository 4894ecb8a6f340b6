-- A shadow predicts what the champion answers, and answers nobody: a kind of rollout beside the A/B test.
ALTER TABLE warehouse.rollout DROP CONSTRAINT rollout_kind_check;
ALTER TABLE warehouse.rollout ADD CONSTRAINT rollout_kind_check CHECK (kind IN ('rollout', 'ab', 'shadow', 'rollback'));
