#!/usr/bin/env bash
# Makes the gateway's certificate, signed by an authority of this checkout, for PUBLIC_HOST and this machine. Run again, it
# keeps a certificate that fits and is valid for a month more; the running gateway takes a new one without a restart.
# All options are in OpenSSL and in macOS's LibreSSL, which has no `x509 -checkhost` and a `req -addext` of its own.
set -euo pipefail
cd "$(dirname "$0")/../.."
umask 077
value() { sed -n "s/^$1=//p" .env 2>/dev/null | tail -n 1 || true; }
host=$(value PUBLIC_HOST)
host=${host:-localhost}
secrets=${1:-docker/nginx/secrets} authority=${2:-docker/nginx/authority}
mkdir -p "$authority"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
names=$(for base in "$host" localhost; do printf 'DNS:%s,' "$base" "airflow.$base" "mlflow.$base" "minio.$base"; done)IP:127.0.0.1
if [[ $host =~ ^[0-9.]+$ ]]; then names="$names,IP:$host"; fi
{ cat docker/bin/tls.cnf && echo "subjectAltName = $names"; } >"$work/cnf"
quietly() { "$@" 2>"$work/errors" || { echo "FAIL: $*: expected a certificate, found: $(<"$work/errors")" >&2 && exit 1; }; }
make_key() { quietly openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }
list_names() { openssl x509 -in "$1" -noout -text | grep -A 1 'Subject Alternative Name' | tr -d ' ' | tr , '\n'; }
# The last name is that of a certificate for every name of a domain.
fits() { list_names "$1" | grep -qixF -e "DNS:$host" -e "IPAddress:$host" -e "DNS:*${host#"${host%%.*}"}"; }
if ! [[ -e $authority/ca.key ]]; then
  make_key "$work/ca.key"
  quietly openssl req -x509 -new -sha256 -days 3650 -subj "/CN=mlops-loop of $(hostname | cut -c 1-40)" -config "$work/cnf" \
    -key "$work/ca.key" -out "$authority/ca.crt"
  mv "$work/ca.key" "$authority/ca.key"
fi
if [[ -e $secrets/tls.crt ]] && openssl x509 -in "$secrets/tls.crt" -noout -checkend 2592000 >/dev/null && fits "$secrets/tls.crt"; then
  echo "$secrets/tls.crt: found, kept; valid for a month at least" && exit 0
fi
make_key "$secrets/tls.key.new"
quietly openssl req -new -sha256 -subj "/CN=${host:0:64}" -config "$work/cnf" -key "$secrets/tls.key.new" -out "$work/request"
quietly openssl x509 -req -sha256 -days 397 -in "$work/request" -CA "$authority/ca.crt" -CAkey "$authority/ca.key" \
  -CAcreateserial -extfile "$work/cnf" -extensions gateway -out "$secrets/tls.crt.new"
if [[ $(id -u) == 0 ]]; then chown "$(value AIRFLOW_UID | grep . || echo 50000)" "$secrets"/tls.*.new; fi
mv "$secrets/tls.key.new" "$secrets/tls.key" && mv "$secrets/tls.crt.new" "$secrets/tls.crt"
echo "$secrets/tls.crt: made for $host; programs that open it need to trust $authority/ca.crt"
