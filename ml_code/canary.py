"""How long a canary is watched and what it may do worse: the `[canary]` of a dataset's TOML file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Canary(BaseModel):
    """The rules of a dataset's canaries; a form may only tighten them without a second person."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    window_seconds: float = Field(
        default=20.0, ge=0, le=3600, description="time for which a canary is watched", examples=[60]
    )
    minimum_requests: int = Field(
        default=300, ge=1, description="of each pool; replays fill a shortage", examples=[1000]
    )
    success_drop: float = Field(
        default=0.02, ge=0, le=1, description="its success rate may be this much lower", examples=[0.01]
    )
    tolerated_failures: int = Field(default=2, ge=0, description="this many failures are not a breach", examples=[0])
    latency_factor: float = Field(default=2.0, ge=1, description="its p99 may be this factor higher", examples=[1.5])
    latency_margin_ms: float = Field(
        default=50.0, ge=0, description="or its p99 may be this many ms higher", examples=[20]
    )
    distribution_distance: float = Field(
        default=0.3, ge=0, le=1, description="distance its predictions may have from the holdout's", examples=[0.2]
    )
