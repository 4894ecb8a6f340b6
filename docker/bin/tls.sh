#!/usr/bin/env bash
# Makes the gateway's certificate, signed by an authority of this checkout, for PUBLIC_HOST and this machine. Run again, it
# keeps a certificate that fits and is valid for a month more; the running gateway takes a new one without a restart.
set -euo pipefail
cd "$(dirname "$0")/../.."
umask 077

value() { sed -n "s/^$1=//p" .env 2>/dev/null | tail -n 1 || true; }
host=$(value PUBLIC_HOST)
host=${host:-localhost}
secrets=${1:-docker/nginx/secrets} authority=${2:-docker/nginx/authority}
mkdir -p "$authority"
names=$(for base in "$host" localhost; do printf 'DNS:%s,' "$base" "airflow.$base" "mlflow.$base" "minio.$base"; done)IP:127.0.0.1
if [[ $host =~ ^[0-9.]+$ ]]; then names="$names,IP:$host"; fi

if ! [[ -e $authority/ca.key ]]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=mlops-loop of $(hostname)" \
    -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout "$authority/ca.key" -out "$authority/ca.crt" 2>/dev/null
fi
if [[ -e $secrets/tls.crt ]] && openssl x509 -in "$secrets/tls.crt" -noout -checkend 2592000 >/dev/null &&
  openssl x509 -in "$secrets/tls.crt" -noout -checkhost "$host" | grep -q ' does match'; then
  echo "$secrets/tls.crt: found, kept; valid for a month at least"
  exit 0
fi
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$host" -keyout "$secrets/tls.key.new" 2>/dev/null |
  openssl x509 -req -days 397 -CA "$authority/ca.crt" -CAkey "$authority/ca.key" -CAcreateserial -out "$secrets/tls.crt.new" 2>/dev/null \
    -extfile <(printf '%s\n' "subjectAltName=$names" basicConstraints=CA:FALSE extendedKeyUsage=serverAuth)
if [[ $(id -u) == 0 ]]; then chown "$(value AIRFLOW_UID | grep . || echo 50000)" "$secrets"/tls.*.new; fi
mv "$secrets/tls.key.new" "$secrets/tls.key"
mv "$secrets/tls.crt.new" "$secrets/tls.crt"
echo "$secrets/tls.crt: made for $host; programs that open it need to trust $authority/ca.crt"
