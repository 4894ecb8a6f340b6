"""A small OpenID Connect provider on loopback: discovery, code flow with PKCE, signed id tokens; it can lie."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT_ID, CLIENT_SECRET = "airflow", secrets.token_hex(16)


class OidcProvider(ThreadingHTTPServer):
    """Knows one person, by the claims in `person`; `lies` replace claims of the token."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.issuer = f"http://127.0.0.1:{self.server_address[1]}"
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.other_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.person: dict[str, Any] = {}
        self.lies: dict[str, Any] = {}
        self.signs_with_other_key = False
        self.asked: dict[str, dict[str, str]] = {}

    def make_token(self, nonce: str) -> str:
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT_ID, "sub": "1", "iat": now, "exp": now + 60, "nonce": nonce}
        key = self.other_key if self.signs_with_other_key else self.key
        return jwt.encode({**claims, **self.person, **self.lies}, key, algorithm="RS256", headers={"kid": "1"})


class _Handler(BaseHTTPRequestHandler):
    server: OidcProvider

    def do_GET(self) -> None:
        where, issuer = urlsplit(self.path), self.server.issuer
        if where.path == "/.well-known/openid-configuration":
            paths = {f"{name}_endpoint": f"{issuer}/{name}" for name in ("authorization", "token", "userinfo")}
            self._send({"issuer": issuer, "jwks_uri": f"{issuer}/jwks", **paths})
        elif where.path == "/jwks":
            key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.server.key.public_key()))
            self._send({"keys": [{**key, "kid": "1", "alg": "RS256", "use": "sig"}]})
        else:
            asked = {name: values[0] for name, values in parse_qs(where.query).items()}
            code = secrets.token_hex(8)
            self.server.asked[code] = asked
            self.send_response(302)
            self.send_header(
                "Location", f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"
            )
            self.end_headers()

    def do_POST(self) -> None:
        form = {k: v[0] for k, v in parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()).items()}
        asked = self.server.asked.pop(form["code"])
        login = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        assert self.headers["Authorization"] == f"Basic {login}"
        assert asked["code_challenge"] == challenge.decode()
        token = self.server.make_token(asked["nonce"])
        self._send({"access_token": secrets.token_hex(8), "token_type": "Bearer", "expires_in": 60, "id_token": token})

    def _send(self, body: object) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def run_oidc_provider() -> Iterator[OidcProvider]:
    with OidcProvider() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
