#!/bin/bash
# Writes how many workers Nginx has and how many connections each takes; the image runs this script before Nginx.
# All workers together take 20,000. A worker cannot open more than the machine's limit of files.
set -euo pipefail

workers=$(nproc)
if ((workers > 4)); then workers=4; fi
connections=$((20000 / workers))
files=$(ulimit -H -n)
if [[ $files != unlimited ]] && ((files < connections + 100)); then connections=$((files - 100)); fi
cat >/tmp/workers.conf <<EOF
worker_processes $workers;
worker_rlimit_nofile $((connections + 100));
events { worker_connections $connections; }
EOF
