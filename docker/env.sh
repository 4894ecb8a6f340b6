#!/usr/bin/env bash
# Writes .env from .env.example with a random value for each one that starts with `insecure-`; never overwrites.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ -e .env ]]; then
  echo ".env: found, kept"
  exit 0
fi

random_hex() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

umask 077
partial=$(mktemp .env.XXXXXX)
trap 'rm -f "$partial"' EXIT
while IFS= read -r line; do
  case $line in
    AIRFLOW_FERNET_KEY=insecure-*) line=AIRFLOW_FERNET_KEY=$(head -c 32 /dev/urandom | base64 | tr '+/' '-_') ;;
    AIRFLOW_JWT_SECRET=insecure-*) line=AIRFLOW_JWT_SECRET=$(random_hex 64) ;;
    *=insecure-*) line=${line%%=*}=$(random_hex 16) ;;
    # The mounted folders must be readable to the user in the containers, whatever this account's umask is.
    AIRFLOW_UID=*) [[ $(id -u) == 0 ]] || line=AIRFLOW_UID=$(id -u) ;;
  esac
  printf '%s\n' "$line"
done < .env.example > "$partial"
ln "$partial" .env # fails where another run was faster
echo ".env: written, with random secrets"
