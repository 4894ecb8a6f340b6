-- Rows as the product writes them. Each part is added to a database that has had the migrations up to the named one, so
-- that each later migration meets the rows of the version before.

-- after 0002_employees.sql
INSERT INTO warehouse.employees (employee_id, name, department, salary, hired_on, loaded_from) VALUES
  (1, '김, 민서', 'Sales', 52000.50, '2019-03-04', repeat('a', 64)), (2, 'O''Brien', 'R&D', 0.01, '2024-02-29', repeat('a', 64));
INSERT INTO warehouse.loaded_file (target, sha256, uri, rows_read, rows_good, rows_quarantined, rows_changed, quarantine_uri)
VALUES ('employees', repeat('a', 64), 's3://datasets/incoming/employees/a.csv', 3, 2, 1, 2,
        's3://datasets/quarantine/employees/a.csv'),
       ('employees', repeat('b', 64), 's3://datasets/incoming/employees/b.csv', 2, 2, 0, 0, NULL);

-- after 0003_weather_forecast.sql
INSERT INTO warehouse.weather_forecast (nx, ny, forecast_at, category, value, unit, raw, issued_at) VALUES
  (60, 127, '2026-11-20T06:00+09', 'TMP', -3.5, 'C', '-3.5', '2026-11-20T05:00+09'),
  (60, 127, '2026-11-20T06:00+09', 'PCP', NULL, NULL, NULL, '2026-11-20T05:00+09');

-- after 0004_promotion_log.sql
INSERT INTO warehouse.promotion_log (model, action, from_version, to_version, who, why) VALUES
  ('iris', 'promote', NULL, '1', 'model_serving_pipeline/scheduled__1', 'passed the gate'),
  ('iris', 'freeze', NULL, NULL, 'kim@laptop', 'audit');

-- after 0006_rollout.sql
INSERT INTO warehouse.rollout (model, kind, from_version, to_version, state, lease_until, owner, reason, figures, ended_at)
VALUES ('iris', 'rollout', NULL, '1', 'promoted', now(), 'model_serving_pipeline/1', 'canary passed', '{"requests": 600}', now()),
       ('iris', 'rollout', '1', '2', 'aborted', now(), 'model_serving_pipeline/2', 'errors: 3 of 100', '{}', now()),
       ('iris', 'rollout', '1', '3', 'aborted', now(), 'model_serving_pipeline/3', 'frozen by kim@laptop', '{}', now()),
       ('iris', 'rollback', '1', '0', 'rolled back', now(), 'kim@laptop', 'wrong labels', '{}', now()),
       ('titanic', 'ab', '1', '2', 'comparing', now(), 'ab_test/1', '', '{}', NULL);

-- after 0007_history.sql
INSERT INTO warehouse.promotion_log (model, action, from_version, to_version, who, why, rollout_id) VALUES
  ('iris', 'promote', NULL, '1', 'kim, by mlops deploy', 'canary passed', 1);

-- after 0008_prediction_log.sql
INSERT INTO warehouse.prediction_collection (collection, began_at, segments, rows, dropped, torn, unreadable) VALUES
  ('20261120T000000Z', '2026-11-20T00:00Z', 3, 1500, 0, 1, 0);
INSERT INTO warehouse.prediction_batch VALUES
  ('20261120T000000Z', 'iris', 'f3b1', 1500, 2, '2026-11-19T23:50Z', '2026-11-19T23:59:59.999999Z', 20480);

-- after 0009_feedback.sql
INSERT INTO warehouse.feedback_batch (batch, model, labels, duplicate, corrected, unknown, mistyped, too_late, implausible, refused)
VALUES ('20261120T000500Z', 'iris', 120, 1, 2, 3, 0, 0, 0, 0), ('20261120T000500Z', '', 0, 0, 0, 7, 0, 0, 0, 0);
INSERT INTO warehouse.label_token (model, token, action, who) VALUES ('iris', 'shop', 'drop', 'kim@laptop');

-- after 0010_live_metric.sql
INSERT INTO warehouse.live_metric (model, version, variant, window_start, window_end, slice, metric, score, low, high, rows,
  labelled, coverage, labels_digest)
VALUES ('iris', '1', 'stable', '2026-11-19T00:00Z', '2026-11-20T00:00Z', '', 'accuracy', 0.95, 0.9, 0.99, 1500, 120, 0.08, 'd1'),
       ('iris', '1', 'stable', '2026-11-18T00:00Z', '2026-11-19T00:00Z', '', 'accuracy', NULL, NULL, NULL, 0, 0, 0, '');

-- after 0011_drift.sql
INSERT INTO warehouse.drift_window (model, version, window_start, window_end, verdict, rows, units, figures, page_uri) VALUES
  ('iris', '1', '2026-11-19T00:00Z', '2026-11-20T00:00Z', 'drift', 1500, NULL, '{"petal_length": {"psi": 0.4}}', 's3://datasets/p');

-- after 0012_retraining.sql
INSERT INTO warehouse.retraining (model, owner, cause, reason, since, until, labels, outcome, version, verdict, ended_at) VALUES
  ('iris', 'mlops_training_pipeline/4', 'drift', 'petal_length', '2026-11-19T00:00Z', '2026-11-20T00:00Z', 120, 'promoted', '4',
   'better by 0.02', now());
INSERT INTO warehouse.retraining (model, owner, cause, reason, since, until, labels) VALUES
  ('housing', 'mlops_training_pipeline/5', 'decline', 'r2', '2026-11-19T00:00Z', '2026-11-20T00:00Z', 9);

-- after 0013_verdicts.sql
INSERT INTO warehouse.rollout (model, kind, from_version, to_version, state, lease_until, owner, who, is_verdict, ended_at) VALUES
  ('housing', 'rollout', '1', '2', 'inconclusive', now(), 'model_serving_pipeline/9', 'kim', false, now());

-- after 0014_staleness.sql
INSERT INTO warehouse.staleness (model, window_end, version, is_champion, age_days, metric, score, low, high, rows, rows_since,
  problem, page_uri)
VALUES ('iris', '2026-11-20T00:00Z', '1', true, 12.5, 'accuracy', 0.95, 0.9, 0.99, 120, '2026-11-12T00:00Z', NULL, 's3://datasets/s'),
       ('iris', '2026-11-20T00:00Z', '0', false, NULL, 'accuracy', NULL, NULL, NULL, 120, '2026-11-12T00:00Z', 'no file', 's3://datasets/s');

-- after 0015_housekeeping.sql
INSERT INTO warehouse.housekeeping (owner, clock, is_dry, planned) VALUES ('housekeeping/1', now(), true, '{"batches": 3}');

-- after 0017_shadow.sql
INSERT INTO warehouse.rollout (model, kind, from_version, to_version, state, lease_until, owner) VALUES
  ('iris', 'shadow', '4', '5', 'comparing', now(), 'ab_test/2');

-- after 0018_backup.sql
INSERT INTO warehouse.backup VALUES ('20261120T020000Z', '2026-11-20T02:00Z', '2026-11-20T02:01Z', 1048576);
