#!/usr/bin/env bash
# Writes .env (or the given file) from .env.example, and replaces each value that starts with `insecure-` by a random one.
# Never overwrites.
set -euo pipefail
cd "$(dirname "$0")/../.."

file=${1:-.env}
if [[ -e $file ]]; then
  echo "$file: found, kept"
  exit 0
fi

random_hex() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

umask 077
partial=$(mktemp "$file.XXXXXX")
trap 'rm -f "$partial"' EXIT
while IFS= read -r line; do
  case $line in
    AIRFLOW_FERNET_KEY=insecure-*) line=AIRFLOW_FERNET_KEY=$(head -c 32 /dev/urandom | base64 | tr '+/' '-_') ;;
    AIRFLOW_JWT_SECRET=insecure-*) line=AIRFLOW_JWT_SECRET=$(random_hex 64) ;;
    *=insecure-*) line=${line%%=*}=$(random_hex 16) ;;
    # The user in the containers must be able to read the mounted folders, whatever this account's umask is.
    AIRFLOW_UID=*) [[ $(id -u) == 0 ]] || line=AIRFLOW_UID=$(id -u) ;;
  esac
  printf '%s\n' "$line"
done < .env.example > "$partial"
ln "$partial" "$file" # fails if another run was faster
echo "$file: written, with random secrets"
