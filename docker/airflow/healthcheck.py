"""Healthy means: this container's Airflow job wrote its heartbeat within the last minute.

Usage: healthcheck.py TriggererJob|DagProcessorJob

Airflow's own `airflow jobs check` imports for 5-9 s; this script queries the database directly.
"""

from __future__ import annotations

import os
import socket
import sys

import psycopg2

QUERY = """SELECT 1 FROM job WHERE job_type = %s AND state = 'running' AND hostname = %s
           AND latest_heartbeat > now() - interval '60 seconds'"""

dsn = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("+psycopg2", "")
with psycopg2.connect(dsn, connect_timeout=5) as connection, connection.cursor() as cursor:
    cursor.execute(QUERY, (sys.argv[1], socket.gethostname()))
    sys.exit(0 if cursor.fetchone() else 1)
