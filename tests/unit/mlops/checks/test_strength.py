from __future__ import annotations

import base64
import secrets
import string

import pytest

from mlops.checks.strength import estimate_bits, find_weaknesses, is_published


@pytest.mark.parametrize(
    "secret",
    [
        "x" * 32,
        "ab" * 16,
        "0123456789abcdef0123456789abcdef",
        "deadbeefdeadbeefdeadbeefdeadbeef",
        "abcdefghijklmnopqrstuvwxyz",
        "zyxwvutsrqponmlkjihgfedcba",
        "a1b2c3d4e5f6g7h8",
        "qwertyuiopasdfghjkl",
        "QWERTZUIOPasdfghjkl",
        "1234567890123456",
        "password12345678",
        "P@ssw0rd-P@ssw0rd-P@ssw0rd",
        "MinioAdminMinioAdmin",
        "Sommer2026-postgres",
        "mlops-mlflow-2026-prod!",
        "the-database-password-of-mlflow",
        "correct-horse-battery-staple",
        "ThisIsAVeryLongPassword!",
        "AAAABBBBCCCCDDDD",
        "7" * 15 + "a",
        "a long sentence that I know",
    ],
)
def test_what_a_guesser_tries_first_is_weak(secret: str) -> None:
    [finding] = find_weaknesses({"POSTGRES_PASSWORD": secret})
    assert finding.startswith("POSTGRES_PASSWORD: expected a random secret of at least 64 bits, found one of about ")


@pytest.mark.parametrize(
    "make",
    [
        lambda: secrets.token_hex(16),
        lambda: secrets.token_hex(64),
        lambda: secrets.token_urlsafe(24),
        lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        lambda: "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(32)),
    ],
    ids=["hex", "long hex", "base64", "fernet", "letters and digits"],
)
def test_what_a_random_source_makes_is_strong(make: object) -> None:
    assert callable(make)
    assert find_weaknesses({str(number): make() for number in range(20)}) == []


def test_six_words_by_dice_are_strong() -> None:
    assert find_weaknesses({"X": "kettle-onion-battery-staple-horse-correct"}) == []


@pytest.mark.parametrize(
    "secret",
    [
        "insecure-mlflow-secret-key",
        "Insecure-mlflow-secret-key-4fjJ9dkeMx",
        "81HqDtbqAywKSOumSha3BhWNOdQ26slT6K0YaZeZyPs=",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    ],
)
def test_a_published_secret_is_known_however_random_it_looks(secret: str) -> None:
    assert is_published(secret)
    assert find_weaknesses({"X": secret}) == ["X: expected a secret, found one that is published"]


def test_a_short_secret_is_weak_even_if_it_is_random() -> None:
    assert find_weaknesses({"X": "kV9$xQ2!mZ7&pL4"}) == ["X: expected at least 16 characters, found 15"]


@pytest.mark.parametrize(
    "change",
    [
        str,
        str.upper,
        lambda secret: secret + "1",
        lambda secret: "airflow-" + secret,
        lambda secret: secret[:16] + "-db",
    ],
    ids=["equal", "in capitals", "with an end", "with a beginning", "with half of it"],
)
def test_a_secret_like_another_is_named_once_and_not_shown(change: object) -> None:
    assert callable(change)
    secret = "9f2c71b04ae85d63b7e1c0d94a6f8253"
    [finding] = find_weaknesses({"ONE": secret, "OTHER": change(secret), "THIRD": "0d7e5b1f93c2a8640b9d"})
    assert finding == "OTHER: expected a secret of its own, found one like ONE"


def test_more_random_characters_are_more_bits() -> None:
    assert estimate_bits("") == 0
    assert estimate_bits("9f2c71b0") < estimate_bits("9f2c71b04ae85d63") < estimate_bits("9f2c71b04ae85d63c70e1b94")
