#!/usr/bin/env bash
# Prints every URL, its user, and the command that shows the password.
set -euo pipefail
cd "$(dirname "$0")/../.."

value() { sed -n "s/^$1=//p" .env | tail -n 1; }
row() { printf '  %-10s %-28s %-12s %s\n' "$1" "$2" "$3" "$4"; }
password() { echo "grep ^$1= .env"; }

host=$(value PUBLIC_HOST) scheme=http
if [[ $(value TLS_BY_PROXY) == yes ]]; then scheme=https; fi
gateway=$scheme://$host:$(value GATEWAY_PORT)
programs=("$scheme://$host:$(value AIRFLOW_PORT)/" "$scheme://$host:$(value MLFLOW_PORT)/"
  "$scheme://$host:$(value MINIO_CONSOLE_PORT)/")
if [[ $(value TLS) == on ]]; then
  gateway=https://$host:$(value GATEWAY_PORT)
  programs=()
  for name in airflow mlflow minio; do programs+=("https://$name.$host:$(value GATEWAY_PORT)/"); done
fi
echo
row "" URL user password
row start "$gateway/" - -
row Airflow "${programs[0]}" "$(value AIRFLOW_ADMIN_USERNAME)" "$(password AIRFLOW_ADMIN_PASSWORD)"
row MLflow "${programs[1]}" "$(value MLFLOW_ADMIN_USERNAME)" "$(password MLFLOW_ADMIN_PASSWORD)"
row MinIO "${programs[2]}" "$(value MINIO_ROOT_USER)" "$(password MINIO_ROOT_PASSWORD)"
row Postgres "$host:$(value POSTGRES_PORT)" warehouse "$(password WAREHOUSE_DB_PASSWORD)"
if [[ "${PROFILE-} $(value COMPOSE_FILE)" == *observability* ]]; then
  row Grafana "http://$host:$(value GRAFANA_PORT)/" admin "$(password GRAFANA_ADMIN_PASSWORD)"
  row Prometheus "http://127.0.0.1:$(value PROMETHEUS_PORT)/" - -
fi
echo
echo "Trigger mlops_training_pipeline in Airflow. A minute later the first model answers:"
if [[ -n $(value GATEWAY_TOKENS) ]]; then login=" -H 'Authorization: Bearer TOKEN'"; fi # one of GATEWAY_TOKENS
echo "  curl -X POST $gateway/predict -H 'Content-Type: application/json'${login-} -d '[[5.1, 3.5, 1.4, 0.2]]'"
if [[ $(value BIND_ADDRESS) != 127.0.0.1 && $(value TLS) != on && $scheme == http ]]; then
  echo "WARNING: published on $(value BIND_ADDRESS): passwords travel in clear without TLS in front (docs/operations.md)"
fi
if grep -q '=insecure-' .env; then
  echo "WARNING: .env holds secrets of .env.example, fit for this machine only; make env writes random ones"
fi
