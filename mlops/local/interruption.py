"""How a command ends that keeps processes running: Ctrl-C, `kill` and a closed terminal come to the same."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NoReturn

INTERRUPTED = 130
"""Exit code of a command that was ended before it was through, as shells have it."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """Lets each signal that asks for an end raise KeyboardInterrupt."""
    with _handled(dict.fromkeys(_SIGNALS, _interrupt) | {signal.SIGHUP: _hang_up}):
        yield


@contextmanager
def undisturbed() -> Iterator[None]:
    """Lets what ends the processes come to its own end, also where Ctrl-C is pressed again."""
    with _handled(dict.fromkeys(_SIGNALS, signal.SIG_IGN)):
        yield


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
    """What is written to a terminal that is gone fails, and would keep the processes from being ended."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    raise KeyboardInterrupt
