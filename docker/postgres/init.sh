#!/usr/bin/env bash
# Creates a role and a database for each of airflow, mlflow and warehouse, and sets the passwords. Safe to repeat.
set -euo pipefail
export PGHOST=${PGHOST:-postgres} PGUSER=postgres PGPASSWORD=$POSTGRES_PASSWORD PGCONNECT_TIMEOUT=5

if ! problem=$(psql -d postgres -qAtc 'SELECT 1' 2>&1); then
  echo "FAIL: expected POSTGRES_PASSWORD of .env to open the database, found: $problem" >&2
  echo "The volume is older than this .env. If another checkout on this machine made it, run docker compose down here and" >&2
  echo "make up in that folder (docs/operations.md: Two stacks on one machine). If not, put the old passwords back, or" >&2
  echo "delete all data: docker compose down -v" >&2
  exit 1
fi

for name in airflow mlflow warehouse; do
  variable=${name^^}_DB_PASSWORD
  if [[ ! ${!variable} =~ ^[A-Za-z0-9_-]+$ ]]; then
    echo "FAIL: $variable: expected letters, digits, - and _ (it becomes part of an address), found other characters" >&2
    exit 1
  fi
  # The password comes from the environment, so that no process list shows it.
  ROLE_PASSWORD=${!variable} psql -d postgres -qv ON_ERROR_STOP=1 -v name="$name" <<'SQL'
\getenv password ROLE_PASSWORD
SET client_min_messages = warning;
SELECT format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE', :'name')
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
SELECT format('ALTER ROLE %I PASSWORD %L', :'name', :'password') \gexec
SELECT format('CREATE DATABASE %I OWNER %I', :'name', :'name')
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', :'name') \gexec
SQL
  echo "database $name: ready"
done
