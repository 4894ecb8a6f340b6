"""The server that one would write by hand: FastAPI, a pandas frame and the pickled scikit-learn pipeline."""

from __future__ import annotations

import os

import joblib  # type: ignore[import-untyped]
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel


class Row(BaseModel):
    """One flower."""

    sepal_length: float
    sepal_width: float
    petal_length: float
    petal_width: float


def make_app() -> FastAPI:
    """The app of the model file that BENCHMARK_MODEL names; for `uvicorn --factory`."""
    pipeline = joblib.load(os.environ["BENCHMARK_MODEL"])
    app = FastAPI()

    @app.post("/predict")
    def predict(rows: list[Row]) -> dict[str, list[int]]:
        frame = pd.DataFrame([row.model_dump() for row in rows])
        return {"predictions": pipeline.predict(frame).tolist()}

    return app
