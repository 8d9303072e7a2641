"""Checkpoints: all that a stopped fit needs to go on as if it had not been stopped."""

import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spice.errors import FileError
from spice.resources.dataset import DatasetRNN
from spice.resources.files import read_file, write_file
from spice.resources.rnn import BaseRNN

SECONDS = 30.0  # between two checkpoints


class Checkpoint:
    """A checkpoint file of one fit.

    Parameters
    ----------
    path : path-like or None
        Where it is; None keeps none.
    fingerprint : str
        What identifies data, model and settings (see `fingerprint`).
    """

    def __init__(self, path: str | os.PathLike | None, fingerprint: str):
        self._path = None if path is None else Path(path)
        if self._path is not None and not self._path.parent.is_dir():
            raise FileError(f"cannot keep {self._path}: there is no folder {self._path.parent}; make it first.")
        if self._path is not None and self._path.is_dir():
            raise FileError(f"checkpoint must name a file, but {self._path} is a folder.")
        self._fingerprint = fingerprint
        self._saved = time.monotonic()

    def read(self) -> dict[str, Any] | None:
        """What was saved, or None if there is no file.

        Raises
        ------
        FileError
            If the file is of another fit, or damaged.
        """
        if self._path is None or not self._path.exists():
            return None
        try:
            header, payload = read_file(self._path, "checkpoint")
        except FileError as error:
            raise FileError(f"{error} As a checkpoint it is no use: delete it to begin anew.") from None
        if header["fingerprint"] != self._fingerprint:
            raise FileError(
                f"{self._path} is the checkpoint of another fit: data, model or settings differ (only epochs may). "
                "Give them as they were, or choose another file, or delete this one."
            )
        return payload

    @property
    def is_kept(self) -> bool:
        """Whether there is a file to keep."""
        return self._path is not None

    def is_due(self) -> bool:
        """Whether it is time to save."""
        return self._path is not None and time.monotonic() - self._saved >= SECONDS

    def write(self, payload: dict[str, Any]) -> None:
        """Save."""
        if self._path is not None:
            write_file(self._path, "checkpoint", {"fingerprint": self._fingerprint}, payload)
            self._saved = time.monotonic()

    def remove(self) -> None:
        """Delete the file of a fit that has ended."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def fingerprint(model: BaseRNN, dataset: DatasetRNN, settings: Mapping[str, Any]) -> str:
    """Identify a fit by its data, its model (class, parameters' shapes) and its settings."""
    digest = hashlib.sha256(repr(sorted(settings.items())).encode())
    for tensor in (dataset.xs, dataset.ys):
        digest.update(tensor.contiguous().numpy().tobytes())
    kind = type(model)
    digest.update(f"{kind.__module__}.{kind.__qualname__}{model}{model.init_values}{dataset.columns.names}".encode())
    for name, value in model.named_parameters():
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}{value.requires_grad}".encode())
    return digest.hexdigest()
