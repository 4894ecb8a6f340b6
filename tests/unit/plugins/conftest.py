from __future__ import annotations

import os
import tempfile

# Airflow reads these while it is imported, and makes its home if there is none.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
