"""What can be wrong with files and blocks is said with the name of the file or block, and with the cure."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

import steepest as st
from steepest.sources import files

ONES = np.ones((5, 2))
SIGNS = np.array([0, 1, 0, 1, 1])


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of ten rows of two columns."""
    monkeypatch.setattr(files, "BLOCK_BYTES", 160)


def fails(message: str, X: Any, y: Any = None, **options: Any) -> None:
    with pytest.raises(st.InputError, match=message):
        st.descend(X, y, **{"loss": "log_loss", "n_steps": 3, **options})


def test_blocks_that_do_not_fit_each_other() -> None:
    first = (ONES, SIGNS)
    fails("block 1: X: expected 2 columns, as in block 0; got 3", [first, (np.ones((5, 3)), SIGNS)])
    fails("block 1: X: expected float64, as in block 0; got float32", [first, (ONES.astype("f4"), SIGNS)])
    fails("block 1: y: expected labels that are numbers, as in block 0; got text", [first, (ONES, list("abaab"))])
    fails("block 1: y: expected shape", [first, (ONES, SIGNS[:4])])
    fails("block 1: y: expected targets as in block 0, 1 a row; got 2", [(ONES, SIGNS), (ONES, ONES)], loss="mse")
    frames = [(pa.table({"a": ONES[:, 0], name: ONES[:, 1]}), SIGNS) for name in ("b", "c")]
    fails("block 1: X: expected the columns of training; missing: 'b'; unexpected: 'c'", frames)


def test_what_is_no_block() -> None:
    fails(r"X: expected blocks \(X, y\) or \(X, y, sample_weight\); block 0 is ndarray", lambda: [ONES])
    fails("block 0 is 4 values", lambda: [(1, 2, 3, 4)])
    fails("X: expected a function that returns blocks; .* returned 3", lambda: 3)
    fails("y: expected targets; got None", [(ONES, None)])
    fails(r"sample_weight: expected None where X is blocks", [(ONES, SIGNS)], sample_weight=np.ones(5))
    fails("sample_weight: expected no negative weight", [(ONES, SIGNS, -np.ones(5))])
    fails("sample_weight: expected at least one weight > 0", [(ONES, SIGNS, np.zeros(5))])


def test_what_opens_blocks_has_its_targets_in_them() -> None:
    for opens in (lambda: [(ONES, SIGNS)], iter([(ONES, SIGNS)])):
        fails(r"y: expected None where X is blocks \(X, y\[, sample_weight\]\)", opens, SIGNS)


def test_blocks_that_are_others_in_a_later_pass() -> None:
    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(40, 2)), np.arange(40) % 2

    def changing(change: Any) -> Any:
        n_passes = iter(range(99))
        return lambda: change(next(n_passes))

    one, two = (X[:20], y[:20]), (X[20:], y[20:])
    drawn = [(generator.normal(size=(20, 2)), y[:20]) for _ in range(9)]
    cure = "; every pass must see the same rows"
    fails(
        "X: expected 2 blocks, as in the first pass; got 1" + cure, changing(lambda k: [one, two][: 2 if k < 2 else 1])
    )
    fails("X: expected 1 blocks, as in the first pass; got more" + cure, changing(lambda k: [one, two][: 1 + k // 2]))
    fails("block 0: it has other rows than in the first pass" + cure, changing(lambda k: [drawn[k]]))
    fails("block 1: it has other rows than in the first pass" + cure, changing(lambda k: [one, (X[k:], y[k:])]))
    fails("block 0: it has other rows", changing(lambda k: [drawn[k]]), method="sgd", batch_size=5)
    ended = iter([one, two])
    fails("X: expected 2 blocks, as in the first pass; got 0" + cure, lambda: ended)
    same = changing(lambda _: [one, two])
    assert st.descend(same, loss="log_loss", n_steps=3).n_steps == 3


def test_validation_data_are_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    fails("eval_set: expected .* in memory; X is the path '.*t.parquet'", [(ONES, SIGNS)], eval_set=(path, "y"))


def test_no_rows() -> None:
    empty = (np.empty((0, 2)), np.empty(0))
    for nothing in ([empty], lambda: iter(()), [empty, empty]):
        fails("X: expected at least one row; all blocks are empty, or there are none; a generator gives", nothing)
    fails("y: expected at least two classes; got 1 class", [(ONES, np.ones(5)), empty])


def test_blocks_may_be_empty_or_of_one_class() -> None:
    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(90, 2)), np.repeat([3, 1, 2], 30)
    options: dict[str, Any] = {"loss": "log_loss", "method": "lbfgs", "alpha": 0.1, "n_steps": 5}
    whole = st.descend(X, y, **options)
    cuts = [slice(0, 0), slice(0, 30), slice(30, 30), slice(30, 60), slice(60, 90), slice(90, 90)]
    fit = st.descend([(X[rows], y[rows]) for rows in cuts], **options)
    assert fit.classes is not None
    assert fit.classes.tolist() == [1, 2, 3]
    np.testing.assert_allclose(fit.parameters, whole.parameters, rtol=1e-10)
    assert st.descend([(X, y)], classes=[2, 1, 3], **options).classes is not None
    fails(r"block 0: y: expected labels among \[1, 2\]; got 3", [(X, y)], classes=[1, 2])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_cell_that_is_not_finite(bad: float, tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(35, 2))
    y = np.arange(35) % 2
    X[23, 1] = bad
    for loss in ("log_loss", "mse"):
        fails(rf"block 1: X: .* X\[3, 1\] is {bad}", [(X[:20], y[:20]), (X[20:], y[20:])], loss=loss)
        np.save(tmp_path / "X", X)
        fails(rf"X.npy, rows from 20 on: X: .* X\[3, 1\] is {bad}", tmp_path / "X.npy", y, loss=loss)
        parquet.write_table(pa.table({"a": X[:, 0], "b": X[:, 1], "y": y}), tmp_path / "t.parquet")
        fails(
            rf"t.parquet, rows from 20 on: X: .* X\[3, 1\] \(column 'b'\) is {bad}",
            tmp_path / "t.parquet",
            "y",
            loss=loss,
        )


def test_paths(tmp_path: Path) -> None:
    fails("X: .*none.npy does not exist or is not a file", tmp_path / "none.npy", SIGNS)
    fails("X: no file matches", tmp_path / "*.parquet", "y")
    fails(r"X: .* is a directory; name the files in it: '.*\*.parquet'", tmp_path, "y")
    (tmp_path / "data.xlsx").touch()
    fails(
        "X: expected a file name that ends in one of .npy, .parquet, .*; got 'data.xlsx'", tmp_path / "data.xlsx", "y"
    )
    np.save(tmp_path / "X", ONES)
    (tmp_path / "a.csv").write_text("a,y\n1,2\n")
    fails("X: expected files of one kind; got csv, npy", [tmp_path / "X.npy", tmp_path / "a.csv"], "y")
    fails("y: expected an array or a .npy file", tmp_path / "X.npy")
    fails("y: expected 5 rows, one a row of X; got 4", tmp_path / "X.npy", SIGNS[:4])
    fails("y: .*no.npy does not exist", tmp_path / "X.npy", tmp_path / "no.npy")
    np.save(tmp_path / "columns", np.asfortranarray(ONES))
    fails("columns.npy: expected an array by rows.*ascontiguousarray", tmp_path / "columns.npy", SIGNS)
    np.save(tmp_path / "cube", np.ones((2, 2, 2)))
    fails("cube.npy: expected shape", tmp_path / "cube.npy", SIGNS[:2])
    np.save(tmp_path / "objects", np.array([[1, None]]))
    fails("objects.npy: expected numbers; it holds Python objects", tmp_path / "objects.npy", SIGNS)
    (tmp_path / "junk.npy").write_bytes(b"hello")
    fails("junk.npy: ", tmp_path / "junk.npy", SIGNS)
    whole = (tmp_path / "X.npy").read_bytes()
    (tmp_path / "short.npy").write_bytes(whole[:-8])
    fails("short.npy: expected 5 rows, as its header says; it ends before that", tmp_path / "short.npy", SIGNS)
    (tmp_path / "junk.parquet").write_bytes(b"hello")
    fails("junk.parquet: ", tmp_path / "junk.parquet", "y")
    (tmp_path / "empty.svm").touch()
    fails("empty.svm: expected lines of a target and 'column:value'", tmp_path / "empty.svm")
    (tmp_path / "bad.svm").write_text("1 hello\n")
    fails("bad.svm: ", tmp_path / "bad.svm")


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_columns_of_tables(kind: str, tmp_path: Path) -> None:
    def write(name: str, table: pa.Table) -> Path:
        path = tmp_path / f"{name}.{kind}"
        if kind == "csv":
            csv.write_csv(table, path)
        else:
            parquet.write_table(table, path)
        return path

    plain = write("plain", pa.table({"a": ONES[:, 0], "b": ONES[:, 1], "y": SIGNS}))
    fails("y: expected the name of a column of .*plain.*; got ndarray", plain, SIGNS)
    fails("y: .*plain.* has no column 'yy'; did you mean 'y'", plain, "yy")
    fails("sample_weight: .*plain.* has no column 'w'", plain, "y", sample_weight="w")
    missing = write("missing", pa.table({"a": ONES[:, 0], "y": SIGNS}))
    fails(f"missing.{kind}: expected the columns of the first file; it has no 'b'", [plain, missing], "y")
    more = write("more", pa.table({"a": ONES[:, 0], "b": ONES[:, 1], "c": SIGNS, "y": SIGNS}))
    fails(f"more.{kind}: expected the columns of the first file; it has another 'c'", [plain, more], "y")
    text = write("text", pa.table({"a": ONES[:, 0], "b": list("xyzxy"), "y": SIGNS}))
    fails(f"text.{kind}, rows from 0 on: X: expected numbers; column 'b' is .*encode it", text, "y")
    hole = write("hole", pa.table({"a": ONES[:, 0], "y": [1.0, None, 0.0, 1.0, 0.0]}))
    fails(f"hole.{kind}, .*: column 'y': expected a value in every row; row 1 has none", hole, "y")
    alone = write("alone", pa.table({"y": SIGNS}))
    fails(f"alone.{kind}: expected columns beside the target", alone, "y")


def test_text_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_bytes("größe,y\n1,0\n2,1\n".encode("latin-1"))
    fails("names.csv: expected UTF-8; .*; iconv converts it", tmp_path / "names.csv", "y")
    (tmp_path / "cells.csv").write_bytes("a,y\n1,groß\n2,klein\n".encode("latin-1"))
    fails("cells.csv: expected UTF-8; column 'y' is not; iconv converts it", tmp_path / "cells.csv", "y")


@pytest.mark.parametrize("kind", ["npy", "parquet", "csv"])
def test_a_file_that_changes_between_passes(kind: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(100, 2)), np.arange(100) % 2
    path = tmp_path / f"data.{kind}"

    def write() -> Any:
        if kind == "npy":
            np.save(path, X)
            return y
        table = pa.table({"a": X[:, 0], "b": X[:, 1], "y": y})
        if kind == "csv":
            csv.write_csv(table, path)
        else:
            parquet.write_table(table, path)
        return "y"

    def change(info: st.StepInfo) -> None:
        if info.step == 2:
            write()
            # Clocks of file systems may be coarse.
            os.utime(path, ns=(1, 1))

    fails(f"data.{kind}: the file has changed since it was opened", path, write(), n_steps=9, callback=change)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_first_of_several_errors_in_a_file(n_threads: int, tmp_path: Path) -> None:
    X, y = np.random.default_rng(0).normal(size=(100, 2)), np.arange(100) % 2
    X[[57, 68, 95]] = np.nan
    np.save(tmp_path / "X", X)
    for _ in range(3):
        fails(r"X.npy, rows from 50 on: X: .* X\[7, 0\] is nan", tmp_path / "X.npy", y, n_threads=n_threads)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_file_that_is_cut_off_or_replaced(n_threads: int, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(100, 2)), np.arange(100) % 2
    path, targets, other = (tmp_path / f"{name}.npy" for name in ("X", "y", "other"))

    def cut_off() -> None:
        os.truncate(path, 700)

    def replace() -> None:
        np.save(other, X)
        os.utime(other, ns=(1, 1))
        other.replace(path)

    cases = [
        (cut_off, "X.npy: the file has changed"),
        (replace, "X.npy: the file has changed"),
        (path.unlink, "X.npy: the file is no longer there"),
        (targets.unlink, "y.npy: the file is no longer there"),
    ]
    for harm, message in cases:
        np.save(path, X)
        np.save(targets, y)

        def callback(info: st.StepInfo, harm: Any = harm) -> None:
            if info.step == 2:
                harm()

        fails(rf"^\S*{message}", path, targets, n_steps=9, n_threads=n_threads, callback=callback)


def test_options_that_need_rows_at_hand() -> None:
    blocks = [(ONES, SIGNS), (2 * ONES, SIGNS)]
    fails("validation_fraction: rows are not drawn from data in blocks", blocks, validation_fraction=0.1)
    fails("pass replacement=False", blocks, method=st.StochasticGradientDescent(replacement=True))
    fails("strategy: 'gram' needs sufficient statistics", blocks, strategy="gram")
    wide = [(np.ones((2, 1600)), [1.0, 2.0])]
    fails("strategy: 'gram' takes at most 1535 columns", wide, loss="mse", strategy="gram")


def test_the_reader_ends_when_a_callback_raises() -> None:
    def blocks() -> Iterator[Any]:
        for scale in range(1, 50):
            yield scale * ONES, SIGNS

    def callback(_: st.StepInfo) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    for method in ("gd", "sgd"):
        with pytest.raises(KeyboardInterrupt):
            st.descend(blocks, loss="log_loss", method=method, n_steps=99, callback=callback)
        assert threading.active_count() == before


@pytest.mark.parametrize("kind", [st.GDRegressor, st.GDClassifier])
def test_only_a_fit_reads_files(kind: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    np.save(path, ONES)
    model = kind().fit(ONES, SIGNS)
    calls: list[Any] = [model.predict, lambda X: model.score(X, SIGNS), lambda X: model.partial_fit(X, SIGNS)]
    calls += [lambda X: model.fit(ONES, SIGNS, eval_set=(X, SIGNS))]
    for given in (path, str(path), [str(path)]):
        for call in calls:
            with pytest.raises(st.InputError, match=r"X: expected rows in memory; got the path .*; read the file"):
                call(given)
