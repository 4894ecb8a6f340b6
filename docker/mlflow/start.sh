#!/bin/sh
# Upgrades MLflow's schema, then serves; users.py adds the users in the background once the server answers.
set -eu
# Handed over in the environment: an argument, and the password in it, would show in every process list.
export MLFLOW_BACKEND_STORE_URI="postgresql+psycopg2://mlflow:${MLFLOW_DB_PASSWORD}@${MLFLOW_DB_ADDRESS}/mlflow"

# The file holds the password too, and the folder may be one that others can look into.
umask 077
# The cache spares 200 ms of password hashing in every request.
cat > "$MLFLOW_AUTH_CONFIG_PATH" <<INI
[mlflow]
default_permission = READ
database_uri = $MLFLOW_BACKEND_STORE_URI
authorization_function = readers:authenticate
auth_cache_ttl_seconds = 60
INI

python -c "import os; from mlflow.db import upgrade; upgrade.callback(os.environ['MLFLOW_BACKEND_STORE_URI'])"
python "$(dirname "$0")/users.py" &
exec mlflow server --workers 1 --app-name basic-auth \
  --artifacts-destination s3://mlflow
