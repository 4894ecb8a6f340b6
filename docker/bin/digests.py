"""Pins the images of .env by digest: asks each registry what a tag names now, and writes `name:tag@sha256:...`.

Nothing is written unless every registry answers with a manifest whose own sha256 is the digest.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

SECONDS = 30
LARGEST_MANIFEST = 4_000_000
TYPES = ", ".join([
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
])  # fmt: skip
LOOPBACK = ("127.0.0.1", "localhost")
LINE = re.compile(r"^([A-Z0-9_]+_IMAGE)=([^\s#]+)$", re.MULTILINE)
REFERENCE = re.compile(r"(?P<name>[^@\s]+?):(?P<tag>[\w.-]{1,128})(?:@sha256:[0-9a-f]{64})?")


@dataclass(frozen=True)
class Image:
    """An image by registry, repository and tag; `name` is how .env writes it."""

    name: str
    registry: str
    repository: str
    tag: str


def parse_image(reference: str) -> Image:
    """Reads a reference as Docker does: without a host it is one of Docker Hub.

    Raises:
        ValueError: it has no tag, or another form.
    """
    match = REFERENCE.fullmatch(reference)
    if match is None or "/" in match["tag"]:
        raise ValueError(f"{reference}: expected name:tag, found another form")
    host, slash, rest = match["name"].partition("/")
    if slash and ("." in host or ":" in host or host == "localhost"):
        return Image(match["name"], host, rest, match["tag"])
    repository = match["name"] if slash else f"library/{match['name']}"
    return Image(match["name"], "registry-1.docker.io", repository, match["tag"])


def find_digest(image: Image) -> str:
    """Returns the digest of the manifest that the registry has for a tag, computed from its bytes.

    Raises:
        ValueError: the registry has none, or says another digest.
        OSError: the registry does not answer.
    """
    scheme = "http" if image.registry.partition(":")[0] in LOOPBACK else "https"
    url = f"{scheme}://{image.registry}/v2/{image.repository}/manifests/{image.tag}"
    try:
        body, said = _read(url, {"Accept": TYPES})
    except urllib.error.HTTPError as error:
        if error.code != 401:
            raise
        token = _fetch_token(error.headers.get("WWW-Authenticate", ""), scheme)
        body, said = _read(url, {"Accept": TYPES, "Authorization": f"Bearer {token}"})
    found = f"sha256:{hashlib.sha256(body).hexdigest()}"
    if said and said != found:
        raise ValueError(f"{image.name}:{image.tag}: expected a manifest with the digest {said}, found {found}")
    if "schemaVersion" not in json.loads(body):
        raise ValueError(f"{image.name}:{image.tag}: expected a manifest, found another answer")
    return found


def pin(text: str) -> tuple[str, list[str]]:
    """Pins each image of the text of .env. Returns the new text, and a line of report for each image."""
    report = []

    def replace(match: re.Match[str]) -> str:
        image = parse_image(match[2])
        pinned = f"{image.name}:{image.tag}@{find_digest(image)}"
        report.append(f"{match[1]}: {'unchanged' if pinned == match[2] else pinned}")
        return f"{match[1]}={pinned}"

    return LINE.sub(replace, text), report


def _read(url: str, headers: dict[str, str]) -> tuple[bytes, str]:
    asked = urllib.request.Request(url, headers=headers)  # noqa: S310  http to loopback alone
    with urllib.request.urlopen(asked, timeout=SECONDS) as answer:  # noqa: S310
        return answer.read(LARGEST_MANIFEST), answer.headers.get("Docker-Content-Digest", "")


def _fetch_token(challenge: str, scheme: str) -> str:
    """Fetches the token that a registry demands of everybody, from where it says."""
    fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    realm = fields.pop("realm", "")
    if not challenge.lower().startswith("bearer ") or urlsplit(realm).scheme not in {"https", scheme}:
        raise ValueError(f"registry: expected to hand out a token over {scheme}, found {challenge!r}")
    answer = json.loads(
        _read(f"{realm}?{urlencode({k: fields[k] for k in ('service', 'scope') if k in fields})}", {})[0]
    )
    return str(answer.get("token") or answer["access_token"])


def main(file: Path) -> int:
    """Pins the images of a file, all of them or none, and returns the exit code."""
    if not file.is_file():
        print(f"FAIL: {file}: expected the settings of the stack, found none; `make env` writes them")
        return 1
    try:
        text, report = pin(file.read_text())
    except (OSError, ValueError, LookupError) as error:
        print(f"FAIL: expected a digest for each image of {file}, found: {error}; nothing was written")
        return 1
    descriptor, partial = tempfile.mkstemp(dir=file.resolve().parent, prefix=f"{file.name}.")
    with os.fdopen(descriptor, "w") as output:
        output.write(text)
    Path(partial).replace(file.resolve())
    print("\n".join(report))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if sys.argv[1:] else ".env")))
