"""Execute the tutorial notebooks in an empty folder.

python tests/tutorials/run_notebooks.py             small settings, as CI does
python tests/tutorials/run_notebooks.py --store     full settings; outputs are stored in the notebooks
python tests/tutorials/run_notebooks.py --store 4   the fourth alone
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

TUTORIALS = Path(__file__).resolve().parents[2] / "tutorials"


def run(path: Path, store: bool) -> None:
    """Execute one notebook; an error in a cell is raised with its traceback."""
    notebook = nbformat.read(path, as_version=4)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": folder}}
        ).execute()
    print(f"{path.name}: {time.perf_counter() - started:.0f} s", flush=True)
    if store:
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # times of day
        notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
        nbformat.write(notebook, path)


def main() -> None:
    """Execute all notebooks."""
    parser = argparse.ArgumentParser(description="Execute the tutorial notebooks in an empty folder.")
    parser.add_argument("names", nargs="*", default=[""], help="beginnings of names; default all")
    parser.add_argument("--store", action="store_true", help="full settings; store the outputs in the notebooks")
    arguments = parser.parse_args()
    os.environ["SPICE_QUICK"] = "0" if arguments.store else "1"
    for path in sorted({path for name in arguments.names for path in TUTORIALS.glob(f"{name}*.ipynb")}):
        run(path, arguments.store)


if __name__ == "__main__":
    main()
