#!/bin/sh
# Checks the gateway's settings and writes the canary's share. The image runs this script before Nginx. It stops the
# start if a value could break Nginx's configuration or the JSON of /stack.json.
set -eu

fail() { # name, what is expected, what was found
    echo "FAIL: $1: expected $2, found '$3'. Set it in .env, then: docker compose up -d nginx" >&2
    exit 1
}

require_number() { # name, value, smallest, largest
    case $2 in
        '' | *[!0-9]* | ???????*) fail "$1" "a whole number from $3 to $4" "$2" ;;
    esac
    if [ "$2" -lt "$3" ] || [ "$2" -gt "$4" ]; then fail "$1" "a whole number from $3 to $4" "$2"; fi
}

require_host() { # name, value
    case $2 in
        '' | *[!A-Za-z0-9.-]*) fail "$1" "a host name or an IPv4 address" "$2" ;;
    esac
}

require_host PUBLIC_HOST "${PUBLIC_HOST-}"
require_number CANARY_PERCENT "${CANARY_PERCENT-}" 0 100
require_number RATE_LIMIT_PER_SECOND "${RATE_LIMIT_PER_SECOND-}" 1 100000
require_number AIRFLOW_PORT "${AIRFLOW_PORT-}" 1 65535
require_number MLFLOW_PORT "${MLFLOW_PORT-}" 1 65535
require_number GATEWAY_PORT "${GATEWAY_PORT-8000}" 1 65535
require_number MINIO_CONSOLE_PORT "${MINIO_CONSOLE_PORT-}" 1 65535

share="split_clients \$split_key \$drawn_pool { $CANARY_PERCENT% canary; * stable; }"
# split_clients refuses 0 %.
if [ "$CANARY_PERCENT" -eq 0 ]; then share="map \$split_key \$drawn_pool { default stable; }"; fi
echo "$share" >/tmp/canary-share.conf
