"""Seals the settings and secrets of a stack with a passphrase: scrypt, then AES-GCM, which notices every change."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path

from mlops.errors import BackupError

SEALED = "settings.sealed"
"""The file in a set."""

MAGIC = b"mlops-loop sealed 1\n"

SALT_BYTES = 16
NONCE_BYTES = 12
COST = 2**15
"""Of scrypt: 32 MB and 0.1 s for each passphrase that somebody tries."""


def seal(files: Mapping[str, bytes], passphrase: str) -> bytes:
    """Encrypts files, by their names."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415  `mlops --help` needs none

    plain = json.dumps({name: base64.b64encode(content).decode() for name, content in files.items()}).encode()
    salt, nonce = os.urandom(SALT_BYTES), os.urandom(NONCE_BYTES)
    return MAGIC + salt + nonce + AESGCM(_derive_key(passphrase, salt)).encrypt(nonce, plain, MAGIC)


def unseal(folder: Path, passphrase: str) -> dict[str, bytes]:
    """Decrypts the files of a set, by their names.

    Raises:
        BackupError: the set has none, the passphrase is another one, or the file was altered.
    """
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415  as above
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    if not (folder / SEALED).is_file():
        raise BackupError(
            f"set {folder}: expected the settings in {SEALED}, found none: it was made without BACKUP_PASSPHRASE; "
            "put the .env of that stack back by hand"
        )
    sealed = (folder / SEALED).read_bytes()
    rest = sealed[len(MAGIC) :]
    salt, nonce, content = rest[:SALT_BYTES], rest[SALT_BYTES:][:NONCE_BYTES], rest[SALT_BYTES + NONCE_BYTES :]
    try:
        plain = AESGCM(_derive_key(passphrase, salt)).decrypt(nonce, content, sealed[: len(MAGIC)])
    except (InvalidTag, ValueError):
        raise BackupError(
            f"set {folder}: expected the passphrase with which it was made, found another one; set BACKUP_PASSPHRASE"
        ) from None
    return {name: base64.b64decode(text) for name, text in json.loads(plain).items()}


def _derive_key(passphrase: str, salt: bytes) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt  # noqa: PLC0415  as above

    return Scrypt(salt=salt, length=32, n=COST, r=8, p=1).derive(passphrase.encode())
