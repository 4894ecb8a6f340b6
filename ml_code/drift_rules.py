"""When a model has drifted, and when it is trained again: the `[drift]` of a dataset's TOML file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class DriftRules(BaseModel):
    """The rules by which a dataset's models are watched and trained again."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    window_hours: float = Field(
        default=24.0,
        ge=0.01,
        le=720,
        description="length of a window; one below a day alarms on each daily rhythm",
        examples=[168],
    )
    label_horizon_days: int = Field(
        default=30, ge=1, le=3650, description="for this long late labels are counted", examples=[90]
    )
    min_new_labels: int = Field(
        default=200, ge=20, description="labels since the last attempt, before another training begins", examples=[500]
    )
    min_new_labels_per_class: int = Field(default=20, ge=1, description="of these, labels of each class", examples=[50])
    unattended: bool = Field(
        default=False,
        description="whether a model that is better on new rows and worse on old ones needs no person",
        examples=[True],
    )
