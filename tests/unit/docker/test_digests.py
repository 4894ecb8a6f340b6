"""The pins of images, against a small registry on loopback that speaks the API of manifests."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.unit.docker.scripts import load_script

FILE = Path(__file__).parents[3] / "docker/bin/digests.py"
MANIFEST = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"


class Registry(ThreadingHTTPServer):
    """Has the tag 17.11 of every repository; `demands` a token like Docker Hub, and `says` a digest."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.name = f"127.0.0.1:{self.server_address[1]}"
        self.demands = False
        self.says = DIGEST
        self.body = MANIFEST
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        where = urlsplit(self.path)
        self.server.asked.append(where.path)
        if where.path == "/token":
            assert parse_qs(where.query) == {"service": ["registry"], "scope": ["repository:team/postgres:pull"]}
            self._send(200, json.dumps({"token": "t"}).encode())
        elif self.server.demands and self.headers["Authorization"] != "Bearer t":
            realm = f'Bearer realm="http://{self.server.name}/token",service="registry"'
            self._send(401, b"", {"WWW-Authenticate": f'{realm},scope="repository:team/postgres:pull"'})
        elif not where.path.endswith("/17.11"):
            self._send(404, b"{}")
        else:
            assert "application/vnd.oci.image.index.v1+json" in self.headers["Accept"]
            self._send(200, self.server.body, {"Docker-Content-Digest": self.server.says})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        threading.Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def digests() -> ModuleType:
    return load_script(FILE)


@pytest.fixture
def env(tmp_path: Path, registry: Registry) -> Path:
    file = tmp_path / ".env"
    file.touch(mode=0o600)
    file.write_text(f"# Images.\nPOSTGRES_IMAGE={registry.name}/team/postgres:17.11\nIMAGE_TAG=dev\nKEY=a=b#c\n")
    return file


@pytest.mark.parametrize("demands", [False, True], ids=["open", "with a token"])
def test_a_tag_gets_the_digest_of_its_manifest(
    digests: ModuleType, registry: Registry, env: Path, *, demands: bool
) -> None:
    registry.demands = demands
    before = env.read_text()
    assert digests.main(env) == 0
    pinned = f"POSTGRES_IMAGE={registry.name}/team/postgres:17.11@{DIGEST}\n"
    assert env.read_text() == before.replace(f"POSTGRES_IMAGE={registry.name}/team/postgres:17.11\n", pinned)
    assert env.stat().st_mode & 0o777 == 0o600


def test_a_moved_tag_gets_its_new_digest(digests: ModuleType, registry: Registry, env: Path) -> None:
    assert digests.main(env) == 0
    registry.body = MANIFEST + b" "
    registry.says = f"sha256:{hashlib.sha256(registry.body).hexdigest()}"
    assert digests.main(env) == 0
    assert env.read_text().count("@sha256:") == 1
    assert registry.says in env.read_text()


@pytest.mark.parametrize(
    "fault", ["missing tag", "other digest", "not a manifest", "no registry", "no tag", "foreign realm"]
)
def test_without_a_certain_digest_nothing_is_written(
    digests: ModuleType, registry: Registry, env: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    good = f"NGINX_IMAGE={registry.name}/team/postgres:17.11\n"
    bad = {"missing tag": f"{registry.name}/x:1", "no registry": "127.0.0.1:1/x:1", "no tag": f"{registry.name}/x"}
    registry.says = "sha256:" + "0" * 64 if fault == "other digest" else registry.says
    if fault == "not a manifest":
        registry.body, registry.says = b"{}", ""
    if fault == "foreign realm":
        registry.name, registry.demands = "elsewhere.example", True
    env.write_text(f"{good}S3_IMAGE={bad[fault]}\n" if fault in bad else good)
    before = env.read_text()
    assert digests.main(env) == 1
    assert env.read_text() == before
    assert capsys.readouterr().out.startswith("FAIL: expected a digest for each image")
    assert [file.name for file in env.parent.iterdir()] == [".env"]


@pytest.mark.parametrize(
    ("reference", "registry", "repository"),
    [
        ("postgres:17.11", "registry-1.docker.io", "library/postgres"),
        ("pgsty/silo:RELEASE.2026-09-16T00-00-00Z", "registry-1.docker.io", "pgsty/silo"),
        ("ghcr.io/owner/name:v1@sha256:" + "0" * 64, "ghcr.io", "owner/name"),
        ("localhost:5000/a/b:1", "localhost:5000", "a/b"),
    ],
)
def test_a_reference_is_read_as_docker_reads_it(
    digests: ModuleType, reference: str, registry: str, repository: str
) -> None:
    image = digests.parse_image(reference)
    assert (image.registry, image.repository) == (registry, repository)
