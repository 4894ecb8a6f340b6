"""A client of S3 whose bucket has as many objects as a test wants, listed in pages of a thousand as stores do."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import boto3

PAGE = 1_000
WRITTEN = datetime(2026, 11, 1, tzinfo=UTC)


def make_client(count: int) -> Any:
    """A client whose requests end in this process, one page at a time."""
    client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret")

    def list_page(params: dict[str, Any], **_: Any) -> tuple[Any, dict[str, Any]]:
        start = int(params["query_string"].get("continuation-token", 0))
        end = min(start + PAGE, count)
        found = [
            {"Key": f"incoming/iris/{number:06d}.csv", "ETag": '"1"', "LastModified": WRITTEN, "Size": 1}
            for number in range(start, end)
        ]
        page = {"Contents": found, "IsTruncated": end < count, "NextContinuationToken": str(end)}
        return SimpleNamespace(status_code=200), page

    client.meta.events.register("before-call.s3.ListObjectsV2", list_page)
    return client
