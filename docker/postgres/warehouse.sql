-- In the database `warehouse`: warehouse_owner, as whom the migrations run, owns the loop's tables. Tasks log in as
-- `warehouse`, which owns what it makes itself: Optuna's tables, and those that a DAG makes in a schema of its own.
SET client_min_messages = warning;
GRANT CONNECT, TEMPORARY, CREATE ON DATABASE warehouse TO warehouse;
ALTER ROLE warehouse IN DATABASE warehouse SET search_path TO warehouse;
-- Without a schema of the role's own name: `warehouse` may make one, with functions that the role would run.
ALTER ROLE warehouse_owner IN DATABASE warehouse SET search_path TO warehouse;
CREATE SCHEMA IF NOT EXISTS optuna AUTHORIZATION warehouse;

-- Older versions let `warehouse` own all of it.
SELECT 'ALTER SCHEMA warehouse OWNER TO warehouse_owner' FROM pg_namespace WHERE nspname = 'warehouse' \gexec
SELECT format('ALTER TABLE warehouse.%I OWNER TO warehouse_owner', tablename) FROM pg_tables
 WHERE schemaname = 'warehouse' AND tableowner = 'warehouse' AND tablename IN
       ('schema_version', 'employees', 'loaded_file', 'weather_forecast', 'promotion_log', 'rollout') \gexec
