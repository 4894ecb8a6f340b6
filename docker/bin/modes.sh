#!/usr/bin/env bash
# Opens what is built into images and mounted to the containers' users: with a umask of 077 a clone is for its owner
# alone. Secrets stay private: .env, and the files below docker/nginx/secrets and docker/nginx/authority.
set -euo pipefail
cd "$(dirname "$0")/../.."

places=(dags plugins ml_code serving mlops docker pyproject.toml README.md LICENSE)
find_closed() {
  find "${places[@]}" \( -path 'docker/nginx/secrets/*' -o -path docker/nginx/authority -o -name __pycache__ \) -prune -o \
    \( -type d ! -perm -005 -o -type f ! -perm -004 \) "$@"
}

number=$(find_closed -print | wc -l | tr -d ' ')
if [[ $number == 0 ]]; then exit 0; fi
if find_closed -exec chmod go+rX {} +; then
  echo "$number files and folders: made readable for the containers' users (this account's umask is $(umask))"
else
  echo "FAIL: $number files and folders: expected that every user may read them, because containers have users of their" >&2
  echo "own; found that they may not. As the owner of the files, run docker/bin/modes.sh" >&2
  exit 1
fi
