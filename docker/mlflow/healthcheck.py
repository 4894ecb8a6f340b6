"""Healthy means: the user `serving` may list models under the host name that the replicas use.

/health would not notice that MLflow refuses this user or this name.
"""

from __future__ import annotations

import base64
import os
import urllib.request

login = base64.b64encode(f"serving:{os.environ['MLFLOW_SERVING_PASSWORD']}".encode()).decode()
urllib.request.urlopen(
    urllib.request.Request(
        "http://127.0.0.1:5000/api/2.0/mlflow/registered-models/search?max_results=1",
        headers={"Authorization": f"Basic {login}", "Host": "mlflow:5000"},
    ),
    timeout=5,
)
