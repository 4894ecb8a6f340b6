"""The gateway of docker/storage-cluster as a container before stores on loopback."""

from __future__ import annotations

import re
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.integration.gateway.containers import NGINX_IMAGE, docker, read_log
from tests.ports import free_port
from tests.waiting import wait_until

SETTINGS = Path(__file__).parents[2] / "docker/storage-cluster/nginx.conf"


def adapt_settings(text: str, port: int, urls: Sequence[str]) -> str:
    """The gateway's settings with other nodes and another port, and without the console."""
    nodes = "".join(f"server {url.removeprefix('http://')} max_fails=1 fail_timeout=5s;\n" for url in urls)
    text, replaced = re.subn(r"(\s+server storage-\d:9000 [^;]*;)+", f"\n{nodes}", text)
    assert replaced == 1
    text = re.sub(r"    # A session of the console.*?\n    }\n", "", text, flags=re.DOTALL)
    text = re.sub(r"    server \{\n        listen 9001;.*?\n    }\n(?=})", "", text, flags=re.DOTALL)
    return text.replace("listen 9000;", f"listen 127.0.0.1:{port};")


@contextmanager
def run_front(folder: Path, urls: Sequence[str]) -> Iterator[str]:
    """Runs the gateway and yields its address."""
    port, name = free_port(), f"store-front-{secrets.token_hex(4)}"
    file = folder / "nginx.conf"
    file.write_text(adapt_settings(SETTINGS.read_text(), port, urls))
    file.chmod(0o644)
    mount = f"--volume={file}:/etc/nginx/nginx.conf:ro"
    hardened = ("--read-only", "--tmpfs", "/tmp:mode=1777", "--cap-drop", "ALL", "--user", "50000:0")
    docker("run", "--detach", "--name", name, "--network", "host", *hardened, mount, NGINX_IMAGE)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(url), 120, lambda: f"the gateway to answer; its log: {read_log(name)}")
        yield url
    finally:
        subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code < 500
    except httpx.HTTPError:
        return False
