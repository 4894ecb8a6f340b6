"""Takes the pictures of the README from the running stack: `make screenshots`. Needs Chromium.

The pictures are docs/images/airflow-graph.png, mlflow-run.png and, if Nginx is part of the stack, start-page.png.
"""

from __future__ import annotations

import base64
import io
import shutil
import sys
from contextlib import closing
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from mlops.airflow_api import AirflowApi
from mlops.host import find_env_file, load_host_settings
from mlops.local.state import read_airflow
from mlops.loop import TRAIN

IMAGES = Path(__file__).parent / "images"
SIZE = {"width": 1360, "height": 760}
COLOURS = 96
LOAD_SECONDS = 60.0
QUIET_SECONDS = 3.0
"""A graph of Airflow moves to its place within this time."""

Login = tuple[str, str]


def find_chromium() -> str:
    """Returns the path of this machine's Chromium: Playwright would download its own."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        sys.exit("FAIL: Chromium: expected it in PATH, found none; apt install chromium")
    return program


def open_page(browser: Browser, headers: dict[str, str] | None = None) -> Page:
    """Returns a page with a fresh profile."""
    context = browser.new_context(viewport=SIZE, locale="en", color_scheme="light", extra_http_headers=headers)
    context.set_default_timeout(LOAD_SECONDS * 1000)
    return context.new_page()


def save_picture(page: Page, name: str, *, whole: bool = False) -> None:
    """Waits until the page is still, and saves a picture with few colours of its visible part or of the whole page."""
    page.wait_for_timeout(QUIET_SECONDS * 1000)
    IMAGES.mkdir(exist_ok=True)
    image = Image.open(io.BytesIO(page.screenshot(full_page=whole))).convert("RGB")
    image.quantize(COLOURS).save(IMAGES / name, optimize=True)
    print(f"{name}: {(IMAGES / name).stat().st_size / 1000:.0f} kB of {page.url}")


def show_airflow_graph(page: Page, url: str, login: Login) -> None:
    """Opens the graph of the last training that succeeded, with its group of tasks expanded."""
    with closing(AirflowApi(url, *login)) as api:
        run_id = next(name for name, state in api.list_runs(TRAIN).items() if state == "success")
    token = httpx.post(f"{url}/auth/token", json={"username": login[0], "password": login[1]}, timeout=LOAD_SECONDS)
    page.context.add_cookies([{"name": "_token", "value": token.json()["access_token"], "url": url}])
    page.goto(f"{url}/dags/{TRAIN}/runs/{run_id}")
    page.get_by_label("Show Graph").click()
    page.get_by_label("Expand all task groups").click()
    page.get_by_label("Collapse Details Panel").click()
    page.wait_for_timeout(QUIET_SECONDS * 1000)
    page.get_by_label("Fit View").click()


def show_mlflow_run(page: Page, url: str, login: Login) -> None:
    """Opens the run whose model serves, in the view for training, without the assistant's panel."""
    address = find_mlflow_run(url, login)
    page.goto(address)
    # The click opens the list of runs; the page remembers the choice.
    page.get_by_text("Model training", exact=True).click()
    page.get_by_label("Close").click()
    page.goto(address)
    page.get_by_text("Metrics (").wait_for()


def find_mlflow_run(url: str, login: Login) -> str:
    """Returns the address of the run whose model serves."""
    query = {"name": "iris", "alias": "champion"}
    found = httpx.get(f"{url}/api/2.0/mlflow/registered-models/alias", params=query, auth=login, timeout=LOAD_SECONDS)
    run_id = found.raise_for_status().json()["model_version"]["run_id"]
    found = httpx.get(f"{url}/api/2.0/mlflow/runs/get", params={"run_id": run_id}, auth=login, timeout=LOAD_SECONDS)
    experiment_id = found.raise_for_status().json()["run"]["info"]["experiment_id"]
    return f"{url}/#/experiments/{experiment_id}/runs/{run_id}"


def main() -> None:
    """Takes every picture that the running stack can show."""
    env_file = find_env_file()
    airflow = read_airflow(env_file)
    settings = load_host_settings(env_file)
    mlflow_login = (settings.mlflow_username, settings.mlflow_password.get_secret_value())
    with sync_playwright() as playwright:
        options = ["--disable-gpu", "--disable-background-networking", "--hide-scrollbars"]
        browser = playwright.chromium.launch(executable_path=find_chromium(), chromium_sandbox=False, args=options)

        page = open_page(browser)
        show_airflow_graph(page, airflow.url, (airflow.username, airflow.password))
        save_picture(page, "airflow-graph.png")

        basic = base64.b64encode(":".join(mlflow_login).encode()).decode()
        page = open_page(browser, {"Authorization": f"Basic {basic}"})
        show_mlflow_run(page, settings.mlflow_url, mlflow_login)
        save_picture(page, "mlflow-run.png")

        if httpx.get(f"{settings.gateway_url}/start.js", timeout=LOAD_SECONDS).is_success:
            page = open_page(browser)
            page.goto(f"{settings.gateway_url}/")
            page.locator("#model-cards article").first.wait_for()
            save_picture(page, "start-page.png", whole=True)


if __name__ == "__main__":
    main()
