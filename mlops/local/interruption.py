"""Interruption of a command that keeps processes running: the same for Ctrl-C, `kill` and a closed terminal."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NoReturn

INTERRUPTED = 130
"""Exit code of an interrupted command, as in shells."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """Raises KeyboardInterrupt at each signal that requests an end."""
    with _handled(dict.fromkeys(_SIGNALS, _interrupt) | {signal.SIGHUP: _hang_up}):
        yield


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignores further signals, so that a second Ctrl-C does not interrupt the end of the processes."""
    with _handled(dict.fromkeys(_SIGNALS, signal.SIG_IGN)):
        yield


@contextmanager
def postponed() -> Iterator[None]:
    """Raises KeyboardInterrupt after the block if a signal came within it: the block is done whole or not begun."""
    came: list[int] = []
    with _handled(dict.fromkeys(_SIGNALS, lambda number, _: came.append(number))):
        yield
    if came:
        raise KeyboardInterrupt


@contextmanager
def _handled(handlers: Mapping[signal.Signals, signal._HANDLER]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _hang_up(*_: object) -> NoReturn:
    """Redirects the streams first: a write to the closed terminal would fail and prevent the end of the processes."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    raise KeyboardInterrupt
