"""What a client of the gateway needs beside its address."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ml_code.settings import Settings


@dataclass(frozen=True, slots=True)
class Access:
    """A token, where the gateway demands one, and the authority of its certificate, where no public one signed it."""

    token: str | None = None
    authority: Path | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of each request."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    @property
    def verify(self) -> ssl.SSLContext | bool:
        """The authorities whose certificates are accepted: the machine's, and the gateway's own."""
        if self.authority is None:
            return True
        context = ssl.create_default_context()
        context.load_verify_locations(self.authority)
        return context


OPEN = Access()
"""The access to a gateway that demands nothing."""


def read_access(settings: Settings) -> Access:
    """The access that settings give."""
    token = settings.gateway_token
    return Access(token.get_secret_value() if token else None, settings.gateway_authority)
