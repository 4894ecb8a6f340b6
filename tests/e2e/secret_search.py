"""The secrets of a stack's .env, the forms in which they may be written, and where to look for them."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Mapping
from urllib.parse import quote

from tests.e2e.stack import IMAGES, Stack, docker
from tests.repo.repository import ROOT


def read_secrets(stack: Stack) -> dict[str, str]:
    """The random values that `make env` has written, by their variable."""
    example = (ROOT / ".env.example").read_text().splitlines()
    names = [line.partition("=")[0] for line in example if "=insecure-" in line and not line.startswith("#")]
    return {name: stack.environment[name] for name in names}


def find_secrets(text: str, secrets: Mapping[str, str]) -> set[str]:
    """Names of the secrets that a text holds as they are, as in an URL, or within base64."""
    return {name for name, secret in secrets.items() if any(form in text for form in list_forms(secret))}


def list_forms(secret: str) -> list[str]:
    """Base64 of a longer text holds the secret at one of three places, with other characters at both ends."""
    shifted = [base64.b64encode(b"#" * place + secret.encode()).decode()[4:-4] for place in range(3)]
    return [secret, quote(secret, safe=""), *shifted]


def find_holders(stack: Stack, secrets: Mapping[str, str]) -> dict[str, set[str]]:
    """The secrets that `docker inspect` shows, by the service of the container."""
    found: dict[str, set[str]] = defaultdict(set)
    for container in json.loads(docker("inspect", *stack.list_names("ps", "--all")).stdout):
        service = container["Config"]["Labels"]["com.docker.compose.service"]
        found[service] |= find_secrets(json.dumps(container), secrets)
    return dict(found)


def find_in_images(stack: Stack, secrets: Mapping[str, str]) -> dict[str, set[str]]:
    """The secrets in settings, history and files of each image that the stack has built."""
    return {image: _find_in_image(f"mlops-loop/{image}:{stack.project}", secrets) for image in IMAGES}


def _find_in_image(image: str, secrets: Mapping[str, str]) -> set[str]:
    texts = [docker("image", "inspect", image).stdout, docker("history", "--no-trunc", image).stdout]
    # The packages of /usr are those of the hash-pinned files.
    search = ["grep", "-rhoF", "-f", "-", "/opt", "/etc", "/home", "/srv", "/var"]
    lines = "\n".join(form for secret in secrets.values() for form in list_forms(secret))
    run = ["run", "--rm", "--interactive", "--network", "none", "--user", "root", "--entrypoint", search[0], image]
    texts.append(docker(*run, *search[1:], stdin=lines, check=False).stdout)
    return find_secrets("\n".join(texts), secrets)
