#!/usr/bin/env bash
# Writes .env (or the given file) from .env.example, and replaces each value that starts with `insecure-` by a random one.
# Never overwrites: a file of an older version gets the secrets that it lacks.
set -euo pipefail
cd "$(dirname "$0")/../.."

file=${1:-.env}
random_hex() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

fill_in() {
  case $1 in
    AIRFLOW_FERNET_KEY=insecure-*) echo "AIRFLOW_FERNET_KEY=$(head -c 32 /dev/urandom | base64 | tr '+/' '-_')" ;;
    AIRFLOW_JWT_SECRET=insecure-*) echo "AIRFLOW_JWT_SECRET=$(random_hex 64)" ;;
    [A-Z]*=insecure-*) echo "${1%%=*}=$(random_hex 16)" ;;
    # The user in the containers must be able to read the mounted folders, whatever this account's umask is.
    AIRFLOW_UID=*) if [[ $(id -u) == 0 ]]; then echo "$1"; else echo "AIRFLOW_UID=$(id -u)"; fi ;;
    *) printf '%s\n' "$1" ;;
  esac
}

umask 077
if [[ -e $file ]]; then
  while IFS= read -r line; do
    if [[ $line != [A-Z]*=insecure-* ]] || grep -q "^${line%%=*}=" "$file"; then continue; fi
    if [[ -n $(tail -c 1 "$file") ]]; then echo >> "$file"; fi
    fill_in "$line" >> "$file"
    echo "$file: ${line%%=*} added, with a random value"
  done < .env.example
  echo "$file: found, kept"
  exit 0
fi
partial=$(mktemp "$file.XXXXXX")
trap 'rm -f "$partial"' EXIT
while IFS= read -r line; do fill_in "$line"; done < .env.example > "$partial"
ln "$partial" "$file" # fails if another run was faster
echo "$file: written, with random secrets"
