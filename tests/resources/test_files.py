"""Files of tensors and plain data: whole or not at all, and nothing in them is executed."""

import os
import pickle
import stat

import pytest
import torch

from spice.errors import FileError
from spice.resources import files
from spice.resources.files import read_file, write_file

HEADER = {"class": "RescorlaWagnerRNN", "n_actions": 2, "labels": {"participant": ["anna", 3, 0.5, None, True]}}
PAYLOAD = {"state_dict": {"weight": torch.arange(40.0).reshape(5, 8), "known": torch.tensor([True])}, "x": {"1": -0.3}}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.pkl"
    write_file(path, "rnn", HEADER, PAYLOAD)
    return path


class Hostile:
    """Would create a file when unpickled."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return open, (self.target, "w")


def is_same(content):
    header, payload = content
    tensors = payload["state_dict"]
    return (
        header == HEADER
        and payload["x"] == PAYLOAD["x"]
        and all(torch.equal(tensors[name], value) for name, value in PAYLOAD["state_dict"].items())
    )


def refusal(path, kind="rnn"):
    with pytest.raises(FileError) as caught:
        read_file(path, kind)
    return str(caught.value)


def test_round_trip(path):
    assert is_same(read_file(path, "rnn"))
    assert is_same(read_file(str(path), "rnn"))
    assert [entry.name for entry in path.parent.iterdir()] == ["model.pkl"]


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "none.pkl", "rnn")


def test_swapped_kinds(path):
    assert refusal(path, "spice") == (
        f"{path} holds a 'rnn' file, not a 'spice' file; were path_rnn and path_spice swapped?"
    )


@pytest.mark.parametrize("write", [lambda o, p: p.write_bytes(pickle.dumps(o)), torch.save], ids=["pickle", "torch"])
def test_hostile_files_are_refused_and_not_executed(tmp_path, write):
    path, target = tmp_path / "model.pkl", tmp_path / "executed"
    for content in (Hostile(target), {"format": "spice", "header": Hostile(target)}):
        write(content, path)
        assert refusal(path) == (
            f"{path} was refused: it is no SPICE file, or it holds code. Only tensors and plain data are read; use "
            "files written by save_spice of this package."
        )
        assert not target.exists()
    pickle.loads(pickle.dumps(Hostile(target))).close()
    assert target.exists()  # it would have been


@pytest.mark.parametrize("text", ["", "hello", "participant,choice,reward\n1,0,1\n" * 100])
def test_text_files_are_refused(tmp_path, text):
    path = tmp_path / "model.pkl"
    path.write_text(text)
    assert refusal(path).startswith(f"{path} ")


def test_other_torch_files_are_refused(tmp_path):
    path = tmp_path / "model.pkl"
    for content in ({"weight": torch.zeros(2)}, torch.zeros(2), [1, 2]):
        torch.save(content, path)
        assert refusal(path) == f"{path} is no SPICE file; use files written by save_spice."


def test_truncated_files_are_refused(path):
    content = path.read_bytes()
    for length in (1, 10, 100, len(content) // 2, len(content) - 100, len(content) - 1):
        path.write_bytes(content[:length])
        assert refusal(path).startswith(f"{path} ")


def test_a_flipped_byte_is_refused_or_harmless(path):
    content = path.read_bytes()
    refused = 0
    for position in range(0, len(content), 7):
        for mask in (0x01, 0xFF):
            damaged = bytearray(content)
            damaged[position] ^= mask
            path.write_bytes(damaged)
            try:
                assert is_same(read_file(path, "rnn")), position  # padding, time stamps
            except FileError:
                refused += 1
    assert refused > 150


def test_a_changed_number_is_refused(path):
    content = path.read_bytes()
    raw = PAYLOAD["state_dict"]["weight"].numpy().tobytes()
    position = content.index(raw) + 30
    path.write_bytes(content[:position] + b"\x01" + content[position + 1 :])
    assert refusal(path) == f"{path} is damaged: its checksum does not fit its contents; save it again."


def test_another_format_version_is_refused(path, monkeypatch):
    monkeypatch.setattr(files, "FORMAT_VERSION", 7)
    monkeypatch.setattr(files, "__version__", "3.2.1")
    write_file(path, "rnn", HEADER, PAYLOAD)
    monkeypatch.undo()
    assert refusal(path) == (
        f"{path} has format version 7, this package reads version 1; it was written by version 3.2.1 of the package."
    )


def test_a_failed_write_leaves_the_old_file_and_no_litter(path, monkeypatch):
    before = path.read_bytes()

    def fail(content, file):
        file.write(b"half of it")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="^disk full$"):
        write_file(path, "rnn", HEADER, PAYLOAD)
    assert path.read_bytes() == before and [entry.name for entry in path.parent.iterdir()] == ["model.pkl"]


def test_an_interrupted_write_leaves_no_litter(tmp_path, monkeypatch):
    def interrupt(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "model.pkl", "rnn", HEADER, PAYLOAD)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_colleagues_may_read_the_file(path):
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
