#!/bin/sh
# Starts a program of Airflow. With TLS=on browsers reach each program at the gateway's port, under a name of its own, so
# links in notices and questions have these addresses.
set -eu
if [ "${TLS:-off}" = on ]; then
  port=${GATEWAY_PORT:-8000}
  if [ "$port" = 443 ]; then port=; fi
  place=${PUBLIC_HOST:-localhost}${port:+:$port}
  export AIRFLOW__API__BASE_URL="https://airflow.$place"
  if [ "${ROLLOUT_MLFLOW_PUBLIC_URL-}" ]; then export ROLLOUT_MLFLOW_PUBLIC_URL="https://mlflow.$place"; fi
  if [ "${ROLLOUT_GATEWAY_PUBLIC_URL-}" ]; then export ROLLOUT_GATEWAY_PUBLIC_URL="https://$place"; fi
fi
# Tasks do not reach Airflow's database, so its old rows are deleted from here.
if [ "${2-}" = scheduler ]; then
  python /opt/airflow/upkeep.py "$AIRFLOW__MLOPS__TASK_LOG_DAYS" "$AIRFLOW__MLOPS__TASK_LOG_GB" &
fi
exec "$@"
