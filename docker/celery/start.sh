#!/bin/sh
# Starts the broker: messages survive its restart, and a full memory refuses new ones instead of dropping old ones.
set -eu

case $BROKER_PASSWORD in
  *[!A-Za-z0-9_-]*)
    echo "FAIL: BROKER_PASSWORD: expected letters, digits, - and _ (it becomes part of an address), found other characters" >&2
    exit 1
    ;;
esac
exec valkey-server - <<SETTINGS
bind * -::*
requirepass $BROKER_PASSWORD
dir /data
appendonly yes
save ""
maxmemory 128mb
maxmemory-policy noeviction
SETTINGS
