#!/usr/bin/env bash
# Names every port of .env that another program holds, before Docker fails to publish it.
set -euo pipefail
cd "$(dirname "$0")/../.."

own=" $(docker compose ps --format '{{range .Publishers}}{{.PublishedPort}} {{end}}' 2>/dev/null || true) "
own=${own//$'\n'/ }
failed=0
profiles=" ${PROFILE-} $(sed -n 's/^COMPOSE_FILE=//p' .env | tail -n 1)"
for name in $(grep -oE '^[A-Z_]+_PORT=' .env | tr -d = | sort -u); do
  port=$(sed -n "s/^$name=\([0-9]*\)$/\1/p" .env | tail -n 1) # the last one counts, as for Compose
  [[ $port && $own != *" $port "* ]] || continue              # the stack itself holds it
  # Only the profile publishes these.
  if [[ $name == @(PROMETHEUS|ALERTMANAGER|GRAFANA)_PORT && $profiles != *observability* ]]; then continue; fi
  # A connection needs neither rights nor an extra program.
  if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    echo "FAIL: $name: expected port $port to be free, found a program that listens there; set another $name in .env" >&2
    failed=1
  fi
done
exit "$failed"
