#!/bin/bash
# Writes how the gateway listens: in clear, or with TLS=on and the mounted certificate; with GRPC=on to gRPC too. Port 8001 is for the
# stack's own containers and is never published. The image runs this script before Nginx.
set -euo pipefail

fail() {
  echo "FAIL: $1. Set it in .env, then: docker compose up -d nginx" >&2
  exit 1
}

host=${PUBLIC_HOST:-localhost} port=${GATEWAY_PORT:-8000}
for proxy in $(tr , " " <<<"${TRUSTED_PROXIES-}"); do
  [[ $proxy =~ ^[0-9a-fA-F.:]+(/[0-9]+)?$ ]] || fail "TRUSTED_PROXIES: expected addresses like 10.0.0.0/8, found '$proxy'"
  echo "set_real_ip_from $proxy;"
done >/tmp/proxies.conf
if [[ -s /tmp/proxies.conf ]]; then echo "real_ip_header X-Forwarded-For; real_ip_recursive on;" >>/tmp/proxies.conf; fi

folder=${SECRETS_FOLDER:-/etc/nginx/secrets}
case ${TLS:-off} in
  off)
    echo "listen 8000 reuseport; listen 8001 reuseport;" >/tmp/door.conf
    printf "map \$host \$%s { default ''; }\n" hsts tls_field >/tmp/tls.conf
    ;;
  on)
    [[ -r $folder/tls.crt && -r $folder/tls.key ]] || fail "TLS: expected tls.crt and tls.key in docker/nginx/secrets, \
readable for user id $(id -u), found none; make tls makes both"
    echo "listen 8000 ssl reuseport; listen 8001 reuseport; include /etc/nginx/tls.conf;" >/tmp/door.conf
    echo "error_page 497 =308 https://\$host:$port\$request_uri;" >/tmp/redirect.conf
    # A browser that remembers it would refuse everything else on this machine in clear.
    [[ $host =~ ^(localhost|127\..*)$ ]] || age=max-age=31536000
    printf '%s\n' "map \$https \$hsts { default \"\"; on \"${age-}\"; }" \
      "map \$host \$tls_field { default '\"tls\":true,'; }" "include /tmp/programs.conf;" >/tmp/tls.conf
    ;;
  *) fail "TLS: expected on or off, found '$TLS'" ;;
esac
case ${GRPC:-off} in
  off) : >/tmp/grpc.conf ;;
  on) echo "include /etc/nginx/grpc/pools.conf;" >/tmp/grpc.conf; echo "include /etc/nginx/grpc/calls.conf;" >>/tmp/door.conf ;;
  *) fail "GRPC: expected on or off, found '$GRPC'" ;;
esac
