#!/bin/sh
# Upgrades MLflow's schema and starts the server. In the background users.py adds the users once the server is up, and
# garbage.py deletes runs that nobody needs.
set -eu
# Passed in the environment: an argument, and the password in it, would show in every process list.
export MLFLOW_BACKEND_STORE_URI="postgresql+psycopg2://mlflow:${MLFLOW_DB_PASSWORD}@${MLFLOW_DB_ADDRESS}/mlflow"

# The file holds the password too, and other users may be able to read the folder.
umask 077
# The cache saves 200 ms of password hashing in every request.
cat > "$MLFLOW_AUTH_CONFIG_PATH" <<INI
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = $MLFLOW_BACKEND_STORE_URI
authorization_function = readers:authenticate
auth_cache_ttl_seconds = 60
INI

python -c "import os; from mlflow.db import upgrade; upgrade.callback(os.environ['MLFLOW_BACKEND_STORE_URI'])"
python "$(dirname "$0")/users.py" &
python "$(dirname "$0")/garbage.py" "${RUN_DAYS:-90}" "${BACKUP_DAYS:-14}" &
exec mlflow server --workers 1 --app-name basic-auth \
  --artifacts-destination s3://mlflow
