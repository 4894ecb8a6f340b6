#!/bin/bash
# Writes Nginx's tables of tokens. They hold digests under a salt that nobody knows, and no token. A request's token finds
# its entry by a salted hash; then the digests are compared. So the time of a comparison tells nothing about a token.
set -euo pipefail
here=$(dirname "$0")
# shellcheck source=docker/nginx/programs/slots.sh
source "$here/slots.sh"

random() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }
digest() { printf '%b' "$(printf %s "$1" | md5sum | cut -c 1-32 | sed 's/../\\x&/g')" | base64 | tr '+/' '-_' | tr -d =; }

out=$1
found=$("$here/read-tokens.sh")
is_demanded=$(sed -n '/^demanded$/p' <<<"$found")
# An empty list never opens a gateway that demands tokens.
if [[ ! $is_demanded ]] && grep -qs '^# demanded$' "$out"; then
  echo "FAIL: GATEWAY_TOKENS: expected a token at least, found none; to demand none, restart the gateway" >&2
  exit 1
fi
tokens=$(sed '/^demanded$/d' <<<"$found")
tokens=${tokens:-nobody $(random)}
for _ in {1..50}; do
  salt=$(random)
  hashes=$(while read -r name token; do echo "$(hash_text "$salt$token") $name"; done <<<"$tokens" | sort -n)
  if parts=$(print_parts <<<"$hashes"); then break; fi
  parts=
done
[[ $parts ]] || { echo "FAIL: GATEWAY_TOKENS: expected fewer tokens, found $(wc -l <<<"$tokens")" >&2; exit 1; }
{
  echo "# ${is_demanded:-none}"
  echo "split_clients \"$salt\$bearer\" \$token_name { $parts }"
  echo "map \$token_name \$token_digest { default \"\";"
  while read -r name token; do echo "$name $(digest "$salt$token");"; done <<<"$tokens"
  echo "} map \$token_name \$token_name_hash { default \"\";"
  while read -r name _; do echo "$name $(printf %s "$name" | sha256sum | cut -c 1-12);"; done <<<"$tokens"
  printf '%s\n' "}" "secure_link \$token_digest;" "secure_link_md5 \"$salt\$bearer\";" \
    "map \$secure_link \$is_stranger { default \"${is_demanded:+1}\"; 1 \"\"; }" \
    "map \$token_of_labels \$is_stranger_to_labels { default \"\"; \"\" \"${is_demanded:+1}\"; }"
} >"$out.new"
mv "$out.new" "$out"
