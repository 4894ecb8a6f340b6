"""Creates the buckets that the loop uses; safe to repeat."""

from __future__ import annotations

import os

import boto3
from botocore.exceptions import ClientError

BUCKETS = ("airflow-logs", "datasets", "mlflow", "predictions")

client = boto3.client(
    "s3",
    endpoint_url=os.environ["MLOPS_S3_ENDPOINT_URL"],
    aws_access_key_id=os.environ["MLOPS_S3_ACCESS_KEY"],
    aws_secret_access_key=os.environ["MLOPS_S3_SECRET_KEY"],
    region_name="us-east-1",
)
for bucket in BUCKETS:
    try:
        client.create_bucket(Bucket=bucket)
        print(f"bucket {bucket}: created")
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
            raise SystemExit(
                f"FAIL: bucket {bucket}: {error}. If the volume is older than this .env, put the old "
                "MINIO_ROOT_PASSWORD back, or delete all data: docker compose down -v"
            ) from error
        print(f"bucket {bucket}: found")
