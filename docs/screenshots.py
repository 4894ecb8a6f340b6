"""Takes the pictures of the README from the stack that runs here: `make screenshots`, with Chromium installed.

The pictures are docs/images/airflow-graph.png, mlflow-run.png and, where Nginx is part of the stack, start-page.png.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from ml_code.settings import find_env_file, load_settings
from mlops.airflow_api import AirflowApi
from mlops.local.state import read_airflow
from mlops.loop import TRAIN

IMAGES = Path(__file__).parent / "images"
WIDTH, HEIGHT = 1360, 760
WHOLE_PAGE_HEIGHT = 1060
COLOURS = 96
LOAD_SECONDS = 60.0
QUIET_SECONDS = 6.0
"""Long enough for a page to fetch and draw what it shows."""


class Browser:
    """A headless Chromium, told what to do over two pipes (https://chromedevtools.github.io/devtools-protocol/)."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = os.fdopen(commands, "wb", buffering=0)
        self._answers = os.fdopen(answers, "rb")
        self._numbers = itertools.count(1)
        target = self._ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self._ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        self.tell("Network.enable", {})
        self.tell("Page.enable", {})

    def tell(self, method: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Calls a method of the page."""
        return self._ask(method, parameters, self._session)

    def take(self, url: str, name: str, height: int = HEIGHT) -> None:
        """Opens a page, waits until it has drawn, and keeps a picture with few colours."""
        size = {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.tell("Emulation.setDeviceMetricsOverride", size)
        self.tell("Page.navigate", {"url": url})
        deadline = time.monotonic() + LOAD_SECONDS
        script = {"expression": "document.readyState"}
        while self.tell("Runtime.evaluate", script)["result"]["value"] != "complete" and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(QUIET_SECONDS)
        taken = base64.b64decode(self.tell("Page.captureScreenshot", {"format": "png"})["data"])
        IMAGES.mkdir(exist_ok=True)
        Image.open(io.BytesIO(taken)).convert("RGB").quantize(COLOURS).save(IMAGES / name, optimize=True)
        print(f"{name}: {(IMAGES / name).stat().st_size / 1000:.0f} kB of {url}")

    def close(self) -> None:
        """Ends the browser."""
        self._ask("Browser.close", {})

    def _ask(self, method: str, parameters: Mapping[str, Any], session: str | None = None) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": dict(parameters)} | (
            {"sessionId": session} if session else {}
        )
        self._commands.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._read_message())
            if answer.get("id") == number:
                if "error" in answer:
                    sys.exit(f"FAIL: {method}: expected Chromium to do it, found {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _read_message(self) -> bytes:
        read = b""
        while not read.endswith(b"\0"):
            byte = self._answers.read(1)
            if not byte:
                sys.exit("FAIL: Chromium: expected an answer, found that it ended")
            read += byte
        return read[:-1]


@contextmanager
def run_browser() -> Iterator[Browser]:
    """Starts Chromium with a fresh profile."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        sys.exit("FAIL: Chromium: expected it in PATH, found none; apt install chromium")
    commands_out, commands_in = os.pipe()
    answers_out, answers_in = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless=new", "--no-sandbox", "--hide-scrollbars", "--remote-debugging-pipe"]
        options += [f"--user-data-dir={profile}", "--lang=en", "--no-first-run", "--disable-gpu"]
        # It reads from its file 3 and writes to its file 4.
        shell = ["bash", "-c", f'exec "$@" 3<&{commands_out} 4>&{answers_in}', "bash", program, *options]
        process = subprocess.Popen(shell, pass_fds=(commands_out, answers_in), stderr=subprocess.DEVNULL)
        os.close(commands_out)
        os.close(answers_in)
        with closing(Browser(commands_in, answers_out)) as browser:
            yield browser
        process.wait(timeout=30)


def main() -> None:
    """Takes every picture that this stack has."""
    env_file = find_env_file()
    airflow_url, *login = read_airflow(env_file)
    settings = load_settings(env_file)
    mlflow_login = (settings.mlflow_username, settings.mlflow_password.get_secret_value())
    with closing(AirflowApi(airflow_url, *login)) as api:
        run_id = next(name for name, state in api.list_runs(TRAIN).items() if state == "success")
    with run_browser() as browser:
        token = httpx.post(f"{airflow_url}/auth/token", json={"username": login[0], "password": login[1]}, timeout=60)
        cookie = {"name": "_token", "value": token.json()["access_token"], "url": airflow_url}
        browser.tell("Network.setCookie", cookie)
        # What a person would have clicked: the graph, with the group of tasks opened.
        show_graph = "localStorage.setItem('default_dag_view', JSON.stringify('graph'));"
        show_graph += f"localStorage.setItem('{TRAIN}/open-groups', JSON.stringify(['train_dataset']))"
        browser.tell("Page.addScriptToEvaluateOnNewDocument", {"source": show_graph})
        browser.take(f"{airflow_url}/dags/{TRAIN}/runs/{run_id}", "airflow-graph.png")

        basic = base64.b64encode(":".join(mlflow_login).encode()).decode()
        browser.tell("Network.setExtraHTTPHeaders", {"headers": {"Authorization": f"Basic {basic}"}})
        browser.take(find_mlflow_run(settings.mlflow_url, mlflow_login), "mlflow-run.png")

        browser.tell("Network.setExtraHTTPHeaders", {"headers": {}})
        if httpx.get(f"{settings.gateway_url}/start.js", timeout=30).is_success:
            browser.take(f"{settings.gateway_url}/", "start-page.png", WHOLE_PAGE_HEIGHT)


def find_mlflow_run(url: str, login: tuple[str, str]) -> str:
    """The page of the run whose model serves."""
    query = {"name": "iris", "alias": "champion"}
    answer = httpx.get(f"{url}/api/2.0/mlflow/registered-models/alias", params=query, auth=login, timeout=60)
    run_id = answer.raise_for_status().json()["model_version"]["run_id"]
    found = httpx.get(f"{url}/api/2.0/mlflow/runs/get", params={"run_id": run_id}, auth=login, timeout=60)
    experiment_id = found.raise_for_status().json()["run"]["info"]["experiment_id"]
    return f"{url}/#/experiments/{experiment_id}/runs/{run_id}/model-metrics"


if __name__ == "__main__":
    main()
