#!/bin/bash
# Prints the tokens that the gateway knows, as `name token` lines; first the line `demanded` if predictions need one. They
# come from GATEWAY_TOKENS, from the file `tokens` of the mounted folder, from GATEWAY_ROLLOUT_TOKEN and GATEWAY_PROBE_TOKEN.
set -euo pipefail

fail() {
  echo "FAIL: GATEWAY_TOKENS: $1; correct it in .env or in the file docker/nginx/secrets/tokens" >&2
  exit 1
}

file=${SECRETS_FOLDER:-/etc/nginx/secrets}/tokens
given=$(tr , '\n' <<<"${GATEWAY_TOKENS-}")
if [[ -e $file ]]; then given+=$'\n'$(<"$file"); fi

declare -A tokens=()
while IFS= read -r entry; do
  if [[ $entry =~ ^[[:space:]]*(#.*)?$ ]]; then continue; fi
  [[ $entry =~ ^[[:space:]]*([A-Za-z0-9_-]{1,32}):([A-Za-z0-9._~+/-]{16,256}=*)[[:space:]]*$ ]] || fail "expected \
name:token with a token of 16 to 256 letters, digits or . _ ~ + / -, found another entry of ${#entry} characters"
  name=${BASH_REMATCH[1],,} token=${BASH_REMATCH[2]}
  [[ $name != @(rollout|probe) && -z ${tokens[$name]-} ]] || fail "expected a name of its own for each token, found $name again"
  for other in "${!tokens[@]}"; do
    [[ $token != "${tokens[$other]}" ]] || fail "expected another token for $name, found that of $other"
  done
  tokens[$name]=$token
done <<<"$given"

case ${BIND_ADDRESS:-127.0.0.1}/${TLS_BY_PROXY-} in
  127.*/yes | localhost/yes | ::1/yes | '[::1]/yes') reached="TLS_BY_PROXY is yes" ;; # the proxy publishes loopback
  127.* | localhost/* | ::1/* | '[::1]/'*) reached= ;;
  *) reached="BIND_ADDRESS is $BIND_ADDRESS" ;;
esac
[[ -z $reached ]] || ((${#tokens[@]})) || fail "expected a token for predictions, because $reached, found none"
if ((${#tokens[@]})); then
  echo demanded
  [[ ${GATEWAY_ROLLOUT_TOKEN-} ]] || fail "expected GATEWAY_ROLLOUT_TOKEN beside it, found none; make env adds it"
fi
if [[ ${GATEWAY_ROLLOUT_TOKEN-} ]]; then tokens[rollout]=$GATEWAY_ROLLOUT_TOKEN; fi
if [[ ${GATEWAY_PROBE_TOKEN-} ]]; then tokens[probe]=$GATEWAY_PROBE_TOKEN; fi
for name in "${!tokens[@]}"; do echo "$name ${tokens[$name]}"; done
