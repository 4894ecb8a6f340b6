"""Which values of an environment count as secrets, and how a masker comes to know them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from airflow.sdk._shared.secrets_masker import SecretsMasker

from plugins.airflow_local_settings import find_secrets, list_forms, mask_always

SECRET = "p@ss/word+1!"


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("MLOPS_MLFLOW_PASSWORD", SECRET, {SECRET}),
        ("AIRFLOW__API_AUTH__JWT_SECRET", SECRET, {SECRET}),
        ("AIRFLOW__CORE__FERNET_KEY", SECRET, {SECRET}),
        ("AWS_SECRET_ACCESS_KEY", SECRET, {SECRET}),
        ("SLACK_WEBHOOK_URL", SECRET, {SECRET}),
        ("GATEWAY_TOKENS", SECRET, {SECRET}),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "x-mlflow-experiment-id=7,authorization=Basic%20dHJhY2VyOmFi",
            {"Basic dHJhY2VyOmFi", "dHJhY2VyOmFi"},
        ),
        # The name of a user, such as `mlops`, stands in ordinary lines.
        ("MLOPS_S3_ACCESS_KEY", "mlops-user", set()),
        ("MLOPS_MLFLOW_USERNAME", "trainer-of-models", set()),
        ("MLOPS_MLFLOW_URL", "http://mlflow:5000", set()),
        ("MLOPS_WAREHOUSE_DSN", "host=postgres user=warehouse password=of-the-warehouse", {"of-the-warehouse"}),
        ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql+psycopg2://airflow:of-airflow@postgres/x", {"of-airflow"}),
        ("AIRFLOW__CELERY__BROKER_URL", "redis://:of%20broker@broker:6379/0", {"of%20broker", "of broker"}),
        ("MLOPS_MLFLOW_PASSWORD", "short", set()),
    ],
)
def test_a_secret_is_found_by_the_variable_or_within_an_address(name: str, value: str, found: set[str]) -> None:
    assert find_secrets({name: value}) == found


@pytest.mark.parametrize(
    "line",
    [
        f"expected {SECRET}",
        f"http://host/?key={quote_plus(SECRET)}",
        json.dumps({"password": SECRET}),
        *(base64.b64encode(f"{user}:{SECRET}".encode()).decode() for user in ("a", "ab", "abc")),
        base64.urlsafe_b64encode(f"user:{SECRET}".encode()).decode(),
    ],
)
def test_a_secret_is_masked_as_text_and_in_the_forms_of_urls_and_headers(line: str) -> None:
    masker = SecretsMasker()
    mask_always(masker, list_forms(SECRET))
    masked = masker.redact(line)
    assert "***" in masked
    assert not any(form in masked for form in list_forms(SECRET))


def test_a_masker_that_a_task_resets_knows_the_secrets_and_no_other() -> None:
    masker = SecretsMasker()
    mask_always(masker, {SECRET})
    masker.add_mask("of another task")
    masker.reset_masker()
    assert masker.redact(f"{SECRET} of another task") == "*** of another task"


def test_a_scheduler_masks_what_it_repeats_of_its_tasks_logs(tmp_path: Path) -> None:
    """Its supervisors write each line of a task to the log of the container as well."""
    program = "from airflow import settings; settings.initialize(); "
    program += "from airflow.sdk.execution_time.supervisor import log; log.warning('found of-the-house in a task')"
    environment = os.environ | {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(Path(__file__).parents[3] / "plugins"),
        "MLOPS_MLFLOW_PASSWORD": "of-the-house",
    }
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert "found *** in a task" in done.stdout + done.stderr
