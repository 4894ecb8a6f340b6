#!/bin/sh
# Starts a program of Airflow. Links in notices and questions have the addresses that a browser reaches. With TLS=on each
# program has a name of its own at the gateway's port. A proxy that does TLS serves each program at its own port.
set -eu
if [ "${TLS:-off}" = on ]; then
  port=${GATEWAY_PORT:-8000}
  if [ "$port" = 443 ]; then port=; fi
  place=${PUBLIC_HOST:-localhost}${port:+:$port}
  export AIRFLOW__API__BASE_URL="https://airflow.$place"
  if [ "${ROLLOUT_MLFLOW_PUBLIC_URL-}" ]; then export ROLLOUT_MLFLOW_PUBLIC_URL="https://mlflow.$place"; fi
  if [ "${ROLLOUT_GATEWAY_PUBLIC_URL-}" ]; then export ROLLOUT_GATEWAY_PUBLIC_URL="https://$place"; fi
elif [ "${TLS_BY_PROXY:-no}" = yes ]; then
  for name in AIRFLOW__API__BASE_URL ROLLOUT_MLFLOW_PUBLIC_URL ROLLOUT_GATEWAY_PUBLIC_URL; do
    eval "link=\${$name-}"
    if [ "$link" ]; then export "$name=https://${link#http://}"; fi
  done
fi
if [ "${LOG_FORMAT:-text}" = json ]; then export AIRFLOW__LOGGING__JSON_LOGS=True; fi
# Tasks do not reach Airflow's database, so its old rows are deleted from here.
if [ "${2-}" = scheduler ]; then
  python /opt/airflow/upkeep.py "$AIRFLOW__MLOPS__TASK_LOG_DAYS" "$AIRFLOW__MLOPS__TASK_LOG_GB" &
  if [ "${WORKERS_ADDRESS-}" ]; then python -m mlops.worker publish & fi
fi
# A worker on another host: a wrong release, password or clock ends it here with one line.
if [ "${WORKER_RELEASE-}" ] && [ "${2-}" = celery ]; then python -m mlops.worker check; fi
exec "$@"
