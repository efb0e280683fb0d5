"""Files of data that somebody made to do harm, or a bad disk changed: refused by name and soon, or a finite fit.

Models and checkpoints are in `test_hostile_files.py`.
"""

from __future__ import annotations

import io
import os
import random
import struct
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet
from sklearn.datasets import dump_svmlight_file

import steepest as st
from steepest.data import read_table
from steepest.sources.arrays import OpenNpy
from steepest.sources.files import File

PROFILE = os.environ.get("STEEPEST_TEST_PROFILE", "dev")
#: Changed files of each kind, and the seconds that one may take.
N_CHANGED = {"npy": 3000, "parquet": 300, "csv": 300, "svm": 300}
MORE = 30 if PROFILE == "deep" else 1
SECONDS = 2.0
Y = np.arange(20.0) % 7
X = np.column_stack([np.sin(Y), np.arange(20.0) % 3])
FOUR = np.arange(4.0)
#: What Python and NumPy say of odd headers, and NumPy of odd numbers, before any of it is refused.
quiet = pytest.mark.filterwarnings("ignore")


def npy(descr: str = "'<f8'", shape: str = "(4, 2)", by_columns: str = "False") -> bytes:
    """Return a file of 64 bytes of zeros whose header says something else."""
    return framed(f"{{'descr': {descr}, 'fortran_order': {by_columns}, 'shape': {shape}, }}")


def framed(header: str, version: tuple[int, int] = (1, 0)) -> bytes:
    text = header.encode("latin-1")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return (
        b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", len(text)) + text + bytes(64)
    )


FORGED: dict[str, bytes] = {
    "nothing": b"",
    "half a beginning": b"\x93NUM",
    "only a beginning": b"\x93NUMPY",
    "a version to come": framed("{'descr': '<f8', 'fortran_order': False, 'shape': (4, 2)}", (9, 0)),
    "rows less than none": npy(shape="(-4, 2)"),
    "columns less than none": npy(shape="(4, -2)"),
    "both less than none": npy(shape="(-4, -2)"),
    "no columns": npy(shape="(4, 0)"),
    "no columns of very many rows": npy(shape=f"({10**18}, 0)"),
    "more columns than bytes": npy(shape=f"(4, {10**12})"),
    "2^70 columns": npy(shape=f"(4, {2**70})"),
    "10^12 rows": npy(shape=f"({10**12}, 2)"),
    "2^64 rows": npy(shape=f"({2**64}, 2)"),
    "a row that is cut": npy(shape="(5, 2)"),
    "a side that is a float": npy(shape="(4.0, 2)"),
    "a side that is text": npy(shape="('4', 2)"),
    "no sides": npy(shape="()"),
    "a list of sides": npy(shape="[4, 2]"),
    "complex": npy("'<c16'", "(4, 1)"),
    "Python objects": npy("'|O'"),
    "a structure": npy("[('a', '<f8'), ('b', '<f8')]", "(4,)"),
    "arrays in an array": npy("('<f8', (2,))", "(4,)"),
    "texts of no letters": npy("'<U0'"),
    "bytes of no length": npy("'|S0'"),
    "nothing of no length": npy("'|V0'"),
    "dates": npy("'<M8[s]'"),
    "durations": npy("'<m8[s]'"),
    "text": npy("'<U2'"),
    "a type that is a number": npy("8"),
    "no type": npy("None"),
    "by columns": npy(by_columns="True"),
    "an order that is a number": npy(by_columns="1"),
    "a program": framed("__import__('os').system('true')"),
    "a text without an end": framed("{'descr': '<f8"),
    "a bracket without an end": framed("{'descr': ('<f8', "),
    "deeply nested": framed("(" * 3000 + ")" * 3000),
    "signs without an end": framed("-" * 9000 + "1"),
    "no dictionary": framed("[1, 2]"),
    "keys that are lists": framed("{[]: 1}"),
    "another key": framed("{'descr': '<f8', 'fortran_order': False, 'shape': (4, 2), 'x': 1}"),
    "a header without an end": npy()[:40],
    "zeros in the header": framed("{'descr': '<f8'\0, 'fortran_order': False, 'shape': (4, 2)}"),
}


def refuse(path: Path, target: Any) -> None:
    started = time.process_time()
    with pytest.raises(st.InputError, match=path.name) as caught:
        st.descend(path, target, n_steps=2)
    assert time.process_time() - started < SECONDS
    assert len(str(caught.value)) < 700


@quiet
@pytest.mark.parametrize("kind", FORGED)
def test_forged_headers_of_numpy_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "forged.npy"
    path.write_bytes(FORGED[kind])
    refuse(path, FOUR)
    np.save(tmp_path / "whole", np.ones((4, 2)))
    for role in ("y", "sample_weight", "offset"):
        given: dict[str, Any] = {"y": FOUR, role: path}
        started = time.process_time()
        with pytest.raises(st.InputError, match=rf"forged\.npy|{role}: expected (numbers|shape|4 rows)"):
            st.descend(tmp_path / "whole.npy", n_steps=2, **given)
        assert time.process_time() - started < SECONDS


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_the_format_is_read(tmp_path: Path, version: tuple[int, int]) -> None:
    path = tmp_path / "whole.npy"
    path.write_bytes(framed("{'descr': '<f8', 'fortran_order': False, 'shape': (4, 2)}", version))
    assert st.descend(path, FOUR, n_steps=2).coef.tolist() == [0.0, 0.0]


def test_files_that_claim_rows_they_lack_are_refused_before_anything_is_built(tmp_path: Path) -> None:
    """Pieces of a file are named one by one: 10^12 rows would be a list of a million of them."""
    path = tmp_path / "huge.npy"
    path.write_bytes(npy(shape=f"({10**12}, 2)"))
    refuse(path, np.broadcast_to(1.0, (10**12,)))


def whole(kind: str) -> bytes:
    """Return a file of the kind as it should be."""
    content = io.BytesIO()
    table = pa.table({"a": X[:, 0], "b": X[:, 1], "y": Y})
    match kind:
        case "npy":
            np.save(content, X)
        case "parquet":
            parquet.write_table(table, content)
        case "csv":
            csv.write_csv(table, content)
        case _:
            dump_svmlight_file(X, Y, content, zero_based=False)
    return content.getvalue()


def changed(content: bytes, generator: random.Random, most: int) -> bytes:
    """Return a file with one or two bytes before `most` changed, or cut anywhere, or with something put into it."""
    spoilt = bytearray(content)
    place = generator.randrange(most)
    match generator.randrange(8):
        case 0:
            return content[:place]
        case 1:
            spoilt[place:place] = generator.choice([b"\0", b"\xff", b"-", b"99", b"9" * 40, b",", b":", b"\n", b"e9"])
        case 2:
            spoilt[place : place + generator.choice([1, 8])] = b""
        case _:
            for _ in range(generator.choice([1, 2])):
                spoilt[generator.randrange(most)] = generator.randrange(256)
    return bytes(spoilt)


def changed_files(kind: str) -> Iterator[bytes]:
    content, generator = whole(kind), random.Random(0)  # noqa: S311
    # What NumPy writes is checked nowhere but in its header.
    most = 128 if kind == "npy" else len(content)
    for _ in range(N_CHANGED[kind] * MORE):
        yield changed(content, generator, most)


@quiet
@pytest.mark.parametrize("kind", N_CHANGED)
def test_changed_files_are_refused_by_name_or_fitted(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"changed.{kind}"
    target: Any = {"npy": Y, "svm": None}.get(kind, "y")
    ends: Counter[str] = Counter()
    for content in changed_files(kind):
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        started = time.process_time()
        try:
            fit = st.descend(path, target, n_steps=2)
        except st.DivergenceError:
            # Numbers that a changed byte has made as large as they can be.
            ends["diverged"] += 1
        except st.InputError as error:
            # Fewer rows than targets is what the header says, and no wrong in itself.
            assert path.name in str(error) or str(error).startswith("y: expected"), error  # noqa: PT017
            ends["refused"] += 1
        else:
            assert np.isfinite(fit.coef).all()
            ends["fitted"] += 1
        assert time.process_time() - started < SECONDS
    assert ends["refused"] > 0.1 * N_CHANGED[kind]
    assert ends["fitted"] > 0.005 * N_CHANGED[kind]


@pytest.mark.parametrize("kind", ["parquet", "csv", "csv.gz"])
def test_changed_tables_of_the_command_line_are_refused_by_name_or_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"changed.{kind}"
    generator = random.Random(0)  # noqa: S311
    content = pa.compress(whole("csv"), "gzip", asbytes=True) if kind == "csv.gz" else whole(kind)
    n_refused = 0
    for _ in range(300 * MORE):
        path.write_bytes(changed(content, generator, len(content)))
        started = time.process_time()
        try:
            read_table(path)
        except st.InputError as error:
            assert path.name in str(error)  # noqa: PT017
            n_refused += 1
        assert time.process_time() - started < SECONDS
    assert n_refused > 0


@pytest.mark.parametrize("number", [2**31 - 1, 2**31, 4 * 10**9, 2**63, 10**30, -1])
def test_numbers_of_columns_that_no_array_has(tmp_path: Path, number: int) -> None:
    path = tmp_path / "far.svm"
    path.write_text(f"1 1:2 {number}:3\n0 1:1\n" * 5)
    refuse(path, None)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files by /proc")
def test_an_error_that_is_kept_keeps_no_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.npy"
    np.save(path, X)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 (a path keeps one open)

    def fails(*_: Any) -> int:
        raise OSError("the disk is gone")

    monkeypatch.setattr(OpenNpy, "_read_some", fails)
    with pytest.raises(st.InputError, match=r"rows\.npy: the disk is gone") as kept:
        st.descend(path, Y, n_steps=2)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    del kept


def test_a_file_that_ends_early_after_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.npy"
    np.save(path, X)
    opened = OpenNpy(File.of(path))
    monkeypatch.setattr(OpenNpy, "_read_some", lambda *_: 0)
    with pytest.raises(st.InputError, match=r"rows\.npy: 16 bytes are missing at its end"):
        opened.rows(0, 1)
