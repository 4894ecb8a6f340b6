"""Where the rows of a dataset come from: the `[source]` of its TOML file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """A table of a TOML file: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class BundledSource(Part):
    """Rows that come with a library."""

    kind: Literal["bundled"]
    loader: Literal["iris"]


class UrlSource(Part):
    """A CSV file on the internet."""

    kind: Literal["url"]
    url: str = Field(pattern=r"^https?://")


class FileSource(Part):
    """A CSV file on this machine; a relative path starts at the folder of the TOML file."""

    kind: Literal["file"]
    path: str


class ObjectSource(Part):
    """A CSV object, by its key below the datasets URI."""

    kind: Literal["s3"]
    key: str


type Source = Annotated[BundledSource | UrlSource | FileSource | ObjectSource, Field(discriminator="kind")]
