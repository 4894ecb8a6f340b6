"""The connection to the object store, which recognizes a response that was cut."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import IncompleteReadError

from ml_code.settings import Settings

CONNECT_SECONDS = 5
READ_SECONDS = 60
TRIES = 3

PROOFS = {
    "GetObject": {"ContentLength", "ETag"},
    "HeadObject": {"ContentLength", "ETag"},
    "ListObjectsV2": {"IsTruncated"},
    "CopyObject": {"CopyObjectResult"},
    "PutObject": {"ETag"},
    "UploadPart": {"ETag"},
    "CompleteMultipartUpload": {"ETag"},
}
"""What a whole response of an operation has."""


def make_client(settings: Settings, **options: Any) -> Any:
    """A client of S3; `options` are those of botocore's `Config`."""
    client = boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint_url,
        aws_access_key_id=settings.s3_access_key,
        aws_secret_access_key=settings.s3_secret_key.get_secret_value(),
        region_name="us-east-1",
        config=Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"total_max_attempts": TRIES},
            s3={"addressing_style": "path"},
            **options,
        ),
    )
    client.meta.events.register("after-call.s3", _refuse_cut_response)
    return client


def _refuse_cut_response(model: Any, parsed: dict[str, Any], **_: Any) -> None:
    """Refuses a response whose connection ended within its headers, which boto3 takes for an empty one.

    Raises:
        IncompleteReadError: something is missing that each whole response of the operation has.
    """
    is_success = parsed.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) < HTTPStatus.MULTIPLE_CHOICES
    if is_success and not PROOFS.get(model.name, set()) <= parsed.keys():
        if "Body" in parsed:
            parsed["Body"].close()
        raise IncompleteReadError(actual_bytes=0, expected_bytes="a whole response")
