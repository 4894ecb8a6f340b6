#!/bin/bash
# Writes how many workers Nginx has, how many connections each takes, and where the replicas are; the image runs this script
# before Nginx. All workers together take 20,000. A worker cannot open more than the machine's limit of files.
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

# Names that list the replicas, and the DNS that knows them: those of compose, unless a chart names others.
stable=${STABLE_HOST:-serving} canary=${CANARY_HOST:-serving-canary} resolver=${RESOLVER:-127.0.0.11}
for name in stable canary resolver; do
  [[ ${!name} =~ ^[A-Za-z0-9.-]+$ ]] || { echo "FAIL: the name of $name: expected a host name or an IPv4 address, found \
'${!name}'; correct STABLE_HOST, CANARY_HOST or RESOLVER of the gateway" >&2; exit 1; }
done
write_pool() { printf 'server %s:3000 resolve max_fails=1 fail_timeout=2s%s;\n' "$2" "" "$3" " backup" >"/tmp/$1.conf"; }
write_pool stable "$stable" "$canary"
write_pool canary "$canary" "$stable"
echo "resolver $resolver valid=2s ipv6=off;" >/tmp/resolver.conf
