"""Where the rows of a dataset come from: the `[source]` of its TOML file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """A table of a TOML file: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class BundledSource(Part):
    """Rows that come with a library."""

    kind: Literal["bundled"] = Field(description="rows that come with a library")
    loader: Literal["iris"] = Field(description="the only bundled table", examples=["iris"])


class UrlSource(Part):
    """A CSV file on the internet."""

    kind: Literal["url"] = Field(description="a CSV file on the internet")
    url: str = Field(pattern=r"^https?://", description="its address", examples=["https://example.org/passengers.csv"])


class FileSource(Part):
    """A CSV file on this machine; a relative path starts at the folder of the TOML file."""

    kind: Literal["file"] = Field(description="a CSV file on this machine")
    path: str = Field(description="a relative path starts at the folder of the TOML file", examples=["flats.csv"])


class ObjectSource(Part):
    """A CSV object, by its key below the datasets URI."""

    kind: Literal["s3"] = Field(description="a CSV object in the bucket of datasets")
    key: str = Field(description="its key below the datasets URI", examples=["raw/flats.csv"])


type Source = Annotated[BundledSource | UrlSource | FileSource | ObjectSource, Field(discriminator="kind")]
