#!/bin/sh
# Upgrades MLflow's schema, then serves; users.py adds the users in the background once the server answers.
set -eu
backend="postgresql+psycopg2://mlflow:${MLFLOW_DB_PASSWORD}@postgres:5432/mlflow"

# The cache spares 200 ms of password hashing in every request.
cat > "$MLFLOW_AUTH_CONFIG_PATH" <<INI
[mlflow]
default_permission = READ
database_uri = $backend
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
INI

mlflow db upgrade "$backend"
python users.py &
exec mlflow server --host 0.0.0.0 --port 5000 --workers 1 --app-name basic-auth \
  --backend-store-uri "$backend" --artifacts-destination s3://mlflow
