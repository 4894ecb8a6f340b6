"""The least that serves a model file: Starlette and the same session under uvicorn, without a check of any kind."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ml_code.model_file.onnx_model import OnnxModel


def make_app() -> Starlette:
    """The app of the model file that BENCHMARK_MODEL names; for `uvicorn --factory`."""
    model = OnnxModel(Path(os.environ["BENCHMARK_MODEL"]).read_bytes())
    inputs = [feature.input for feature in model.spec.features]

    async def predict(request: Request) -> Response:
        matrix = np.array(orjson.loads(await request.body()), np.float32)
        values, _ = model.run({name: matrix[:, place : place + 1] for place, name in enumerate(inputs)})
        return Response(orjson.dumps({"predictions": values.tolist()}), media_type="application/json")

    return Starlette(routes=[Route("/predict", predict, methods=["POST"])])
