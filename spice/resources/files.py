"""Files that hold tensors and plain data only: atomic to write, safe to read."""

import hashlib
import io
import os
import pickle
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch

from spice.errors import ConfigError, FileError
from spice.resources.arguments import in_words
from spice.version import __version__

FORMAT = "spice"
FORMAT_VERSION = 1
FOOTER_LENGTH = 64


def write_file(path: str | os.PathLike, kind: str, header: dict[str, Any], payload: dict[str, Any]) -> None:
    """Write a file atomically: either it is there whole, or the old one is.

    Parameters
    ----------
    path : path-like
        Where to write.
    kind : str
        What it holds, ``"rnn"`` or ``"spice"``.
    header : dict
        What identifies the model: class, configuration, settings.
    payload : dict
        Tensors and plain data.
    """
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "package_version": __version__,
        "kind": kind,
        "header": header,
        "payload": payload,
    }
    content["checksum"] = _checksum(content)
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot save {target}: there is no folder {target.parent}; make it first.")
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            data = io.BytesIO()
            torch.save(content, data)
            file.write(data.getvalue() + _footer(data.getvalue()))
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp's own mode would lock colleagues out
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def check_paths(**paths: Any) -> None:
    """Check paths of files by the names of their arguments; None is left out.

    Raises
    ------
    ConfigError
        If one is no path, or two are the same.
    FileError
        If one is a folder.
    """
    given = {name: path for name, path in paths.items() if path is not None}
    for name, path in given.items():
        if not isinstance(path, (str, os.PathLike)):
            raise ConfigError(f"{name} must be a path, not {in_words(path)}.")
        if Path(path).is_dir():
            raise FileError(f"{name} must name a file, but {os.fspath(path)} is a folder.")
    if len({os.path.abspath(path) for path in given.values()}) < len(given):
        raise ConfigError(f"{' and '.join(given)} are the same file; give each its own.")


def read_file(path: str | os.PathLike, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a file without executing anything in it.

    Returns
    -------
    header, payload : dict
        As they were written.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileError
        If it is damaged, holds anything but tensors and plain data, or is of another kind.
    """
    name = os.fspath(path)
    data = Path(path).read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of foreign pickles that are refused right after
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise FileError(
            f"{name} was refused: it is no SPICE file, or it holds code. Only tensors and plain data are read; "
            "use files written by save_spice of this package."
        ) from None
    except Exception as error:
        raise FileError(f"{name} is damaged or no SPICE file ({type(error).__name__}); save it again.") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FileError(f"{name} is no SPICE file; use files written by save_spice.")
    if content.get("format_version") != FORMAT_VERSION:
        raise FileError(
            f"{name} has format version {content.get('format_version')}, this package reads version {FORMAT_VERSION}; "
            f"it was written by version {content.get('package_version')} of the package."
        )
    checksum = content.pop("checksum", None)
    if checksum != _checksum(content) or not data.endswith(_footer(data[:-FOOTER_LENGTH])):
        raise FileError(f"{name} is damaged: its checksum does not fit its contents; save it again.")
    if content["kind"] != kind:
        swapped = "" if kind == "checkpoint" else "; were path_rnn and path_spice swapped?"
        raise FileError(f"{name} holds a {content['kind']!r} file, not a {kind!r} file{swapped or '.'}")
    return content["header"], content["payload"]


def _footer(data: bytes) -> bytes:
    """What a file ends with: the SHA-256 of all that comes before."""
    return hashlib.sha256(data).hexdigest().encode()


def _checksum(content: Any) -> str:
    """SHA-256 over tensors and plain data, whatever way they are stored."""
    digest = hashlib.sha256()

    def feed(value: Any) -> None:
        if isinstance(value, dict):
            digest.update(b"{")
            for key, entry in value.items():
                digest.update(repr(key).encode())
                feed(entry)
            digest.update(b"}")
        elif isinstance(value, (list, tuple)):
            digest.update(b"[")
            for entry in value:
                feed(entry)
            digest.update(b"]")
        elif isinstance(value, torch.Tensor):
            digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        else:
            digest.update(repr(value).encode())

    feed(content)
    return digest.hexdigest()
