#!/usr/bin/env bash
# Fails, before any change, if another checkout on this machine runs the stack of this name. Prints which folder that is
# and how to run a second stack. Compose itself would replace the containers of the first.
set -euo pipefail
cd "$(dirname "$0")/../.."

of() { docker "${@:2}" --filter "label=com.docker.compose.project=$1" 2>/dev/null || true; }
is_taken() { [[ $(of "$1" ps --all --quiet)$(of "$1" volume ls --quiet) ]]; }

project=${COMPOSE_PROJECT_NAME:-$(sed -n 's/^COMPOSE_PROJECT_NAME=//p' .env 2>/dev/null | tail -n 1 || true)}
project=${project:-$(sed -n 's/^name: //p' docker-compose.yaml)}

found=
while IFS= read -r folder; do
  # A folder that is gone was moved here or deleted, so its stack cannot be started from there.
  if [[ -d $folder && ! $folder -ef . ]]; then found="that $folder runs it; to stop it, run make down in that folder"; fi
done < <(of "$project" ps --all --format '{{.Label "com.docker.compose.project.working_dir"}}')
if [[ ! $found && ! -e .env && $(of "$project" volume ls --quiet) ]]; then
  found="volumes that another .env made; to use their data, copy that .env here"
fi
[[ $found ]] || exit 0

number=2
while is_taken "$project-$number"; do number=$((number + 1)); done
settings="COMPOSE_PROJECT_NAME=$project-$number IMAGE_TAG=$project-$number"
while IFS='=' read -r name port; do
  settings+=" $name=$((port + 100 * (number - 1)))"
done < <(grep -E '^[A-Z_]+_PORT=[0-9]+$' .env.example)
cat >&2 <<EOF
FAIL: stack $project: expected that this folder runs it, found $found
Nothing was changed. To run a second stack, with its own name, images and ports (docs/operations.md):
  make env && printf '%s\n' $settings >> .env && make up
EOF
exit 1
