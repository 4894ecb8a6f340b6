"""Names of the registry that replicas and rollouts share: aliases, tags, and the path of the model file."""

from __future__ import annotations

CHAMPION = "champion"
CHALLENGER = "challenger"
PREVIOUS = "previous"

SHADOW = "shadow"
"""Alias of the version that predicts what the champion answers, and answers nobody."""

ROLLED_BACK = "rolled_back"
"""Tag of a version that was taken back, with the reason; for people, as every verdict among the tags.

Whether a version is picked automatically is decided by the warehouse's log (`ml_code.verdicts`).
"""

VERDICT = "rollout"
"""Tag of a version: how its rollout ended. Tag of a model: how far its rollout is, as JSON."""

BAD_VERDICTS = frozenset({"aborted", "compared"})
"""An attempt that could not tell leaves one of these as it is."""

REPLAY_MARK = "replay_sha256"
"""Tag of a model: the sha256 of the word that the rollout under way sends with its own requests."""

CANARY_UNTIL = "canary_until"
"""Tag of a model: until when the canary pool answers with the challenger."""

SHADOW_UNTIL = "shadow_until"
"""Tag of a model: until when the canary pool has the shadow predict."""

UNTIL = {CHALLENGER: CANARY_UNTIL, SHADOW: SHADOW_UNTIL}
"""The tag that says how long the version of an alias is held."""

CANARY_SHARE = "canary_share"
"""Tag of a model: how many per cent of the canary pool's users get the challenger; all of them without the tag."""

MODEL_FILE = "model.onnx"
"""Path of the ONNX file among a version's artifacts, as mlflow.onnx names it."""

FILE_SECONDS = 600.0
"""Longest download of a model file, however steadily its bytes come."""
