"""Bounds how many champions have an open session: the one asked longest ago is closed, and a request opens it again."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, override

from ml_code.model_file.onnx_model import OnnxModel, open_session
from serving.answering.served import ServedModel, Version
from serving.errors import RequestError
from serving.following.model_files import ModelFiles
from serving.registry.names import CHAMPION


class ClosableModel(OnnxModel):
    """A model file whose session can be closed; its next run opens it again, in whichever thread that is."""

    def __init__(self, content: bytes, identity: Version, open_models: OpenModels) -> None:
        """Opens a session.

        Raises:
            ModelFileError: as for any model file.
        """
        self.identity = identity
        self._open_models = open_models
        self.used = 0
        super().__init__(content)

    def close(self) -> None:
        """Drops the session; a run that is under way ends first."""
        self._session = None

    @override
    def hold(self) -> Any:
        """The session, which is opened again if it was closed.

        Raises:
            RequestError: 503 where its file is gone.
        """
        self.used = self._open_models.count_use()
        session = self._session
        if session is None:
            with self._open_models.opening:
                session = self._session  # another thread has opened it meanwhile
                if session is None:
                    session = self._session = open_session(self._open_models.make_room(self.identity))
        return session


class OpenModels:
    """The models of a replica, of which at most `most` champions have an open session (0: all).

    >>> open_models = OpenModels(files, most=20)
    >>> model = open_models.open(content, identity)
    >>> open_models.follow(list(slots.values()))
    """

    def __init__(self, files: ModelFiles, most: int) -> None:
        self.opening = threading.Lock()
        """Held while a session opens: one at a time, because opening takes twelve times a file's size."""
        self.thread = ThreadPoolExecutor(1, "opening") if most else None
        """Answers requests that meet a closed session, so that all others do not wait for it."""
        self.lost: set[Version] = set()
        """Versions whose file is gone from the disk."""
        self._has_closed = False
        self._files = files
        self._most = most
        self._uses = 0
        self._closable: list[ClosableModel] = []

    def open(self, content: bytes, identity: Version) -> OnnxModel:
        """Opens a model file for the first time."""
        return ClosableModel(content, identity, self) if self._most else OnnxModel(content)

    def follow(self, served: Sequence[ServedModel]) -> None:
        """Takes over what is served, and closes what is too much; may wait for a session that opens.

        A challenger or a shadow is never closed, and neither is a champion of the same file.
        """
        if not self._most:
            return
        others = {id(one.model) for one in served if one.variant != CHAMPION}
        models = (one.model for one in served if id(one.model) not in others)
        with self.opening:
            self._closable = [model for model in models if isinstance(model, ClosableModel)]
            self._close_beyond(self._most)

    def take_closed(self) -> bool:
        """Whether a session was closed since the last call."""
        has_closed, self._has_closed = self._has_closed, False
        return has_closed

    def count_use(self) -> int:
        """A number that is larger with each use."""
        self._uses += 1
        return self._uses

    def make_room(self, identity: Version) -> bytes:
        """Closes what is too much beside one more, and reads that one's file.

        Raises:
            RequestError: 503 where the file is gone or damaged; the follower fetches it again.
        """
        self._close_beyond(self._most - 1)
        try:
            content = self._files.read(identity.sha256)
        except OSError:
            content = None
        if content is None:
            self.lost.add(identity)
            raise RequestError(
                503, f"model {identity.name}: found its file gone from the disk, expected it there; it is fetched again"
            )
        return content

    def _close_beyond(self, most: int) -> None:
        still_open = sorted((model for model in self._closable if model.is_open), key=lambda model: model.used)
        for model in still_open[: max(0, len(still_open) - most)]:
            if self._files.path(model.identity.sha256).exists():  # a closed one could not open again
                model.close()
                self._has_closed = True
