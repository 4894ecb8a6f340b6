#!/bin/bash
# Writes the tables of tokens and begins to watch the folder of secrets; the image runs this script before Nginx.
set -euo pipefail
# What changes from here on is taken by the watcher, also while the tables are written.
seen=$(/opt/gateway/watch-secrets.sh look)
/opt/gateway/write-tokens.sh /tmp/tokens.conf
/opt/gateway/watch-secrets.sh watch "$seen" &
