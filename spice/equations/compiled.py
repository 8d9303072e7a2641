"""Generated code as modules in the user's cache folder, from where numba keeps its compiled form between processes."""

import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

FOLDER = "SPICE_CACHE"  # environment variable that names another folder


def cache_folder() -> Path:
    """Where generated code is kept: ``$SPICE_CACHE``, else ``spice`` in the platform's folder for caches."""
    if os.environ.get(FOLDER):
        return Path(os.environ[FOLDER])
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "spice"


def load_function(source: str, name: str) -> Callable:
    """A function of generated code.

    The module is written once, under the hash of its text, in one step: several processes may do so at once. Where
    the folder cannot be written to, a temporary one serves this process.

    Parameters
    ----------
    source : str
        Text of a module.
    name : str
        The function.
    """
    digest = hashlib.sha256(source.encode()).hexdigest()[:24]
    module_name = f"spice_generated_{digest}"
    module = sys.modules.get(module_name)
    if module is None:
        try:
            module = _import(_write(cache_folder(), module_name, source), module_name)
        except (OSError, RuntimeError):  # the latter from numba, where it may not write beside the file
            folder = tempfile.mkdtemp(prefix="spice-")
            module = _import(_write(Path(folder), module_name, source), module_name)
            weakref.finalize(module, shutil.rmtree, folder, ignore_errors=True)
    return getattr(module, name)


def _write(folder: Path, module_name: str, source: str) -> Path:
    """The file with this text; rewritten only if it is not there or was changed: numba compiles anew what is newer."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{module_name}.py"
    try:
        if path.read_bytes() == source.encode():
            return path
    except FileNotFoundError:
        pass
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=module_name, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(source.encode())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def _import(path: Path, module_name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[module_name] = module  # numba's threads and pickles look it up there
    return module
