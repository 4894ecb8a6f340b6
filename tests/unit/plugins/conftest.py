from __future__ import annotations

import os
import tempfile

# Airflow reads these variables while it is imported, and makes a missing home folder.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
