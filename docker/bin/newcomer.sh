#!/usr/bin/env bash
# Runs `make demo` as a newcomer does: a clean checkout at a path with a blank, an ordinary user, a container with only
# Python, make and git. Then runs it again, without a network and in a read-only checkout.
set -euo pipefail
cd "$(dirname "$0")/../.."

folder=$(mktemp -d)
container=$(docker run --detach --rm --init "$(sed -n 's/^PYTHON_IMAGE=//p' .env.example)" sleep infinity)
trap 'docker kill "$container" >/dev/null; rm -rf "$folder"' EXIT
as_root() { docker exec "$container" "$@"; }
as_newcomer() { docker exec --user newcomer --workdir "/home/newcomer/a clone" "$container" "$@"; }

as_root sh -c 'export DEBIAN_FRONTEND=noninteractive; apt-get update -qq && apt-get install -y -qq --no-install-recommends make git >/dev/null'
as_root useradd --create-home newcomer
git clone --quiet --depth 1 "file://$PWD" "$folder/a clone"
docker cp --quiet "$folder/a clone" "$container:/home/newcomer/"
as_root chown -R newcomer: /home/newcomer

SECONDS=0
as_newcomer make demo EXIT=1
echo "newcomer: done after $SECONDS s, with the installation"

docker network disconnect bridge "$container"
as_root chown -R root: "/home/newcomer/a clone"
if said=$(as_newcomer make demo EXIT=1 2>&1) || [[ $said != *"--state DIR"* ]]; then
  echo "FAIL: read-only checkout: expected a message that names --state, found: $said" >&2
  exit 1
fi
as_newcomer .venv/bin/mlops demo --exit --state /home/newcomer/state

# Three lines: the titles, Docker's init, and the sleep that keeps the container.
if [[ $(docker top "$container" | wc -l) != 3 ]]; then
  echo "FAIL: processes: expected none to be left, found: $(docker top "$container")" >&2
  exit 1
fi
