#!/usr/bin/env bash
# Creates the roles and databases of airflow, mlflow and warehouse, and of celery where a worker runs the tasks; the role
# monitor logs in with the profile observability only. Sets the passwords. Safe to repeat.
set -euo pipefail
export PGHOST=${PGHOST:-/run/postgresql} PGUSER=postgres PGPASSWORD=$POSTGRES_PASSWORD PGCONNECT_TIMEOUT=5
# A task may make a schema `postgres`, in which the superuser would find functions before those of the server.
export PGOPTIONS='-c search_path=pg_catalog'

# No database has this name: the server checks the password before it looks for the database.
problem=$(psql -d password_check -qAtc 'SELECT 1' 2>&1) || true
if [[ $problem != *'"password_check" does not exist'* ]]; then
  echo "FAIL: expected POSTGRES_PASSWORD of .env to open the database, found: $problem" >&2
  echo "The volume is older than this .env. If another checkout on this machine made it, run docker compose down here and" >&2
  echo "make up in that folder (docs/operations.md: Two stacks on one machine). If not, put the old passwords back, or" >&2
  echo "delete all data: docker compose down -v" >&2
  exit 1
fi

roles=(airflow mlflow warehouse_owner warehouse ${CELERY_DB_PASSWORD:+celery})
for name in "${roles[@]}" ${MONITOR_DB_PASSWORD:+monitor}; do
  variable=${name^^}_DB_PASSWORD
  if [[ ! ${!variable} =~ ^[A-Za-z0-9_-]+$ ]]; then
    echo "FAIL: $variable: expected letters, digits, - and _ (it becomes part of an address), found other characters" >&2
    exit 1
  fi
done
for name in "${roles[@]}"; do
  variable=${name^^}_DB_PASSWORD
  # The password comes from the environment, so that no process list shows it.
  ROLE_PASSWORD=${!variable} psql -d postgres -qv ON_ERROR_STOP=1 -v name="$name" -f "$(dirname "$0")/role.sql"
done

for name in airflow mlflow warehouse ${CELERY_DB_PASSWORD:+celery}; do
  owner=${name/warehouse/warehouse_owner}
  psql -d postgres -qv ON_ERROR_STOP=1 -v name="$name" -v owner="$owner" -f "$(dirname "$0")/database.sql"
done
psql -d warehouse -qv ON_ERROR_STOP=1 -f "$(dirname "$0")/warehouse.sql"
MONITOR_DB_PASSWORD=${MONITOR_DB_PASSWORD-} psql -d warehouse -qv ON_ERROR_STOP=1 -f "$(dirname "$0")/monitor.sql"
echo "databases airflow, mlflow, warehouse${CELERY_DB_PASSWORD:+, celery}: ready"
