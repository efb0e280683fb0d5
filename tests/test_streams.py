"""Data beyond memory: every kind of file and stream gives the descent that the same rows give in memory."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyarrow import csv, parquet
from sklearn.datasets import dump_svmlight_file

import steepest as st
from steepest import streams as st_streams
from steepest.sources import files
from steepest.sources.arrays import FROM_MEMORY, MOST_OPEN, OpenNpy
from steepest.streams import side_by_side
from tolerance import tolerance

Write = Callable[[Path, NDArray[Any], NDArray[Any], NDArray[Any]], tuple[Any, dict[str, Any]]]

N, D = 700, 4
CLOSE = tolerance(np.float64, N, 600)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of about a hundred rows."""
    monkeypatch.setattr(files, "BLOCK_BYTES", 100 * D * 8)


@pytest.fixture
def data() -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    generator = np.random.default_rng(7)
    X = generator.normal(size=(N, D)) * [1, 30, 1, 0.1] + [0, 0, 100, 0]
    # The last label is in the last rows only.
    y = np.where(X[:, 0] + generator.normal(size=N) > 0, "yes", "no").astype("U7")
    y[-5:] = "perhaps"
    return X, y, generator.integers(0, 3, size=N).astype(float)


def table(X: NDArray[Any], y: NDArray[Any], weights: NDArray[Any]) -> pa.Table:
    return pa.table({**{f"c{j}": X[:, j] for j in range(X.shape[1])}, "label": y, "weight": weights})


def as_npy(folder: Path, X: NDArray[Any], y: NDArray[Any], weights: NDArray[Any]) -> tuple[Any, dict[str, Any]]:
    for name, array in (("X", X), ("y", y), ("w", weights)):
        np.save(folder / name, array)
    return folder / "X.npy", {"y": folder / "y.npy", "sample_weight": str(folder / "w.npy")}


def as_npy_files(folder: Path, X: NDArray[Any], y: NDArray[Any], weights: NDArray[Any]) -> tuple[Any, dict[str, Any]]:
    for name, rows in (("1", slice(250)), ("2", slice(250, None))):
        np.save(folder / f"X{name}", X[rows])
        np.save(folder / f"y{name}", y[rows])
    y_files = [folder / "y1.npy", folder / "y2.npy"]
    return [folder / "X1.npy", folder / "X2.npy"], {"y": y_files, "sample_weight": weights}


def as_parquet(folder: Path, X: NDArray[Any], y: NDArray[Any], weights: NDArray[Any]) -> tuple[Any, dict[str, Any]]:
    parquet.write_table(table(X, y, weights), folder / "all.parquet", row_group_size=300)
    return str(folder / "all.parquet"), {"y": "label", "sample_weight": "weight"}


def as_parquet_files(folder: Path, X: NDArray[Any], y: Any, weights: NDArray[Any]) -> tuple[Any, dict[str, Any]]:
    parts = table(X, y, weights)
    for name, part in (("a", parts[:250]), ("b", parts[250:250]), ("c", parts[250:])):
        parquet.write_table(part, folder / f"{name}.parquet")
    return folder / "*.parquet", {"y": "label", "sample_weight": "weight"}


def as_csv(folder: Path, X: NDArray[Any], y: NDArray[Any], weights: NDArray[Any]) -> tuple[Any, dict[str, Any]]:
    csv.write_csv(table(X, y, weights), folder / "all.csv")
    return folder / "all.csv", {"y": "label", "sample_weight": "weight"}


def as_csv_files(folder: Path, X: NDArray[Any], y: NDArray[Any], weights: NDArray[Any]) -> tuple[Any, dict[str, Any]]:
    parts = table(X, y, weights)
    csv.write_csv(parts[:250], folder / "a.csv")
    with pa.output_stream(folder / "b.csv.gz", compression="gzip") as packed:
        csv.write_csv(parts[250:], packed)
    return [folder / "a.csv", folder / "b.csv.gz"], {"y": "label", "sample_weight": "weight"}


def as_blocks(_: Path, X: NDArray[Any], y: NDArray[Any], weights: NDArray[Any]) -> tuple[Any, dict[str, Any]]:
    return [(X[a : a + 90], y[a : a + 90], weights[a : a + 90]) for a in range(0, N, 90)], {}


def as_function(folder: Path, X: NDArray[Any], y: NDArray[Any], weights: NDArray[Any]) -> tuple[Any, dict[str, Any]]:
    blocks, _ = as_blocks(folder, X, y, weights)

    def opened() -> Iterator[Any]:
        yield from blocks

    return opened, {}


def as_iterable(folder: Path, X: NDArray[Any], y: NDArray[Any], weights: NDArray[Any]) -> tuple[Any, dict[str, Any]]:
    blocks, _ = as_blocks(folder, X, y, weights)

    class Iterable:
        def __iter__(self) -> Iterator[Any]:
            return iter(blocks)

    return Iterable(), {}


FORMS: dict[str, Write] = {
    "npy": as_npy,
    "npy files": as_npy_files,
    "parquet": as_parquet,
    "parquet files": as_parquet_files,
    "csv": as_csv,
    "csv files": as_csv_files,
    "blocks": as_blocks,
    "function": as_function,
    "iterable": as_iterable,
}
every_form = pytest.mark.parametrize("form", FORMS)


@every_form
@pytest.mark.parametrize("method", ["auto", "nesterov"])
def test_labels(form: str, method: str, tmp_path: Path, data: Any) -> None:
    X, y, weights = data
    options: dict[str, Any] = {"loss": "log_loss", "alpha": 0.01, "method": method, "precondition": True, "n_steps": 9}
    whole = st.descend(X, y, sample_weight=weights, **{**options, "method": "lbfgs" if method == "auto" else method})
    given, others = FORMS[form](tmp_path, X, y, weights)
    fit = st.descend(given, **others, **options)
    assert fit.classes is not None
    assert fit.classes.tolist() == ["no", "perhaps", "yes"]
    np.testing.assert_allclose(fit.parameters, whole.parameters, rtol=CLOSE, atol=CLOSE)
    np.testing.assert_allclose(fit.history.loss, whole.history.loss, rtol=CLOSE)
    assert fit.feature_names == ([f"c{j}" for j in range(D)] if "parquet" in form or "csv" in form else None)


@every_form
@pytest.mark.parametrize("method", ["auto", "gd"])
def test_squared_errors_need_one_pass(form: str, method: str, tmp_path: Path, data: Any) -> None:
    X, _, weights = data
    y = X @ np.arange(1.0, 1.0 + D) + np.sin(np.arange(N))
    options: dict[str, Any] = {"alpha": 0.01, "method": method, "precondition": True, "n_steps": 9}
    whole = st.descend(X, y, sample_weight=weights, **options)
    given, others = FORMS[form](tmp_path, X, y, weights)
    fit = st.descend(given, **others, **options)
    assert fit.strategy == "gram"
    np.testing.assert_allclose(fit.parameters, whole.parameters, rtol=CLOSE, atol=CLOSE)


def test_borders_decide_the_bits(tmp_path: Path, data: Any) -> None:
    """Blocks of the same borders give the same bytes, wherever they come from."""
    X, y, weights = data
    blocks = [(X[a : a + 100], y[a : a + 100], weights[a : a + 100]) for a in range(0, N, 100)]
    given, others = as_npy(tmp_path, X, y, weights)
    options: dict[str, Any] = {"loss": "log_loss", "alpha": 0.01, "method": "lbfgs", "n_steps": 9}
    fits = [
        st.descend(given, **others, **options),
        st.descend(blocks, **options),
        st.descend(lambda: blocks, **options),
    ]
    assert len({fit.parameters.tobytes() for fit in fits}) == 1
    assert len({fit.history.loss.tobytes() for fit in fits}) == 1


@pytest.fixture
def many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many that several threads read them and compute with them."""
    monkeypatch.setattr(files, "BLOCK_BYTES", 20 * D * 8)


@pytest.mark.usefixtures("many_blocks")
@pytest.mark.parametrize("loss", ["log_loss", "huber"])
def test_any_number_of_threads_gives_the_same_bits(loss: str, tmp_path: Path, data: Any) -> None:
    X, y, weights = data
    given, others = as_npy(tmp_path, X, y if loss == "log_loss" else X[:, 0] + 1, weights)
    fits = []
    for n_threads in (1, 2, 3):
        stream: Any = st_streams.as_blocks(given, **others, numbers=False)
        spread, share = stream.spread(n_threads, 0)
        assert (spread.n_spread, share) == (0 if n_threads == 1 else n_threads, 1)
        fits.append(st.descend(given, **others, loss=loss, method="lbfgs", n_steps=9, n_threads=n_threads))
    assert len({fit.parameters.tobytes() for fit in fits}) == 1
    assert len({fit.history.loss.tobytes() for fit in fits}) == 1


@pytest.mark.usefixtures("many_blocks")
@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_loss_beyond_all_numbers_ends_the_descent_without_a_warning(
    n_threads: int, tmp_path: Path, data: Any
) -> None:
    X, _, weights = data
    # A square is a number, the sum of those of a block is not.
    given, others = as_npy(tmp_path, X, np.full(N, 3e153), weights)
    with pytest.raises(st.DivergenceError):
        st.descend(given, y=others["y"], loss="mse", strategy="stream", n_steps=3, n_threads=n_threads)


@pytest.mark.usefixtures("many_blocks")
def test_a_system_that_reads_only_where_it_is(tmp_path: Path, data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given, others = as_npy(tmp_path, *data)
    options: dict[str, Any] = {**others, "loss": "log_loss", "n_steps": 4, "n_threads": 3}
    fit = st.descend(given, **options)
    monkeypatch.delattr(os, "preadv", raising=False)
    assert st.descend(given, **options).parameters.tobytes() == fit.parameters.tobytes()


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="threads always read in turn here")
def test_a_slow_disk_is_read_by_one_thread_at_a_time(
    tmp_path: Path, data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "X", data[0])
    opened = OpenNpy(files.File.of(tmp_path / "X.npy"))
    read = os.preadv
    reading: list[None] = []
    at_once: list[int] = []

    def slow(*given: Any) -> int:
        reading.append(None)
        at_once.append(len(reading))
        time.sleep(2 * FROM_MEMORY)
        reading.pop()
        return read(*given)

    monkeypatch.setattr(os, "preadv", slow)
    opened.rows(0, 1)
    rows = list(side_by_side(lambda row: opened.rows(row, row + 1), range(30), 3))
    assert max(at_once) == 1
    assert np.array_equal(np.concatenate(rows), data[0][:30])


def test_what_is_large_is_computed_with_by_all_threads(
    tmp_path: Path, data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, others = as_npy(tmp_path, *data)
    stream: Any = st_streams.as_blocks(given, **others, numbers=False)
    assert len(stream.parts) == 7
    # One block for each is too few: the last ones would keep some threads waiting.
    assert stream.spread(2, 0) == (stream, 2)
    monkeypatch.setattr(st_streams, "BLOCKS_PER_THREAD", 1)
    assert stream.spread(2, st_streams.FEW_BYTES)[1] == 1
    assert stream.spread(2, st_streams.FEW_BYTES + 1) == (stream, 2)
    monkeypatch.setattr(st_streams, "MOST_BYTES", 100 * D * 8 - 1)
    assert stream.spread(2, 0) == (stream, 2)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in Linux's /proc")
@pytest.mark.parametrize("n_threads", [1, 2])
def test_many_files_are_not_open_for_long(n_threads: int, tmp_path: Path, data: Any) -> None:
    X, y, _ = data
    rows = [slice(a, a + 20) for a in range(0, N, 20)]
    assert len(rows) > 2 * MOST_OPEN
    for k, part in enumerate(rows):
        np.save(tmp_path / f"X{k:02}", X[part])
    np.save(tmp_path / "y", y)
    n_open = []

    def count(_: object = None) -> None:
        n_open.append(len(os.listdir("/proc/self/fd")))  # noqa: PTH208 (a path keeps one open)

    options: dict[str, Any] = {"loss": "log_loss", "n_steps": 3, "n_threads": n_threads, "callback": count}
    count()
    fit = st.descend(tmp_path / "X*.npy", tmp_path / "y.npy", **options)
    count()
    blocks = [(X[part], y[part]) for part in rows]
    assert st.descend(blocks, **options).parameters.tobytes() == fit.parameters.tobytes()
    np.save(tmp_path / "X30", np.full((20, D), np.nan))
    with pytest.raises(st.InputError, match=r"X30\.npy, rows from 0 on: X: expected finite numbers") as kept:
        st.descend(tmp_path / "X*.npy", tmp_path / "y.npy", **options)
    # An error that is kept, as at a prompt, keeps none of them.
    count()
    del kept
    assert max(n_open) == n_open[0]


def test_svmlight(tmp_path: Path, data: Any) -> None:
    X, y, _ = data
    X = np.where(np.abs(X) < 0.05, 0, X)
    dump_svmlight_file(X, (y == "yes").astype(int), str(tmp_path / "rows.svm"), zero_based=False)
    fit = st.descend(tmp_path / "rows.svm", loss="log_loss", method="lbfgs", n_steps=9, precondition=True)
    whole = st.descend(X, (y == "yes") * 1.0, loss="log_loss", method="lbfgs", n_steps=9, precondition=True)
    np.testing.assert_allclose(fit.parameters, whole.parameters, rtol=CLOSE, atol=CLOSE)


def test_one_pass_is_one_pass(data: Any) -> None:
    X, _, _ = data
    y = X[:, 0]
    n_opened = 0

    def blocks() -> Iterator[Any]:
        nonlocal n_opened
        n_opened += 1
        yield from ((X[a : a + 90], y[a : a + 90]) for a in range(0, N, 90))

    for method in ("auto", "gd", "lbfgs", "nesterov"):
        n_opened = 0
        assert st.descend(blocks, method=method, n_steps=20).strategy == "gram"
        assert n_opened == 1
    # Once to look at all rows, once for the start, once a step; the full step of lbfgs was good enough each time.
    for method in ("gd", "lbfgs"):
        n_opened = 0
        rate: Any = 0.5 if method == "gd" else "auto"
        fit = st.descend(blocks, method=method, loss="huber", learning_rate=rate, precondition=True, n_steps=5)
        assert fit.n_steps == 5
        assert n_opened == 2 + 5


def test_a_generator_can_be_read_once(data: Any) -> None:
    X, y, _ = data
    blocks = [(X[a : a + 90], X[a : a + 90, 0]) for a in range(0, N, 90)]
    assert abs(st.descend(iter(blocks), method="auto").loss) < 1e-12
    with pytest.raises(st.InputError, match="can be read only once: pass the function that opens them"):
        st.descend(iter(blocks), loss="huber")
    with pytest.raises(st.InputError, match="can be read only once"):
        st.descend(iter(blocks), strategy="stream")
    batches = table(X, y, X[:, 0]).select(["c0", "c1", "weight"]).to_batches(90)
    reader = pa.RecordBatchReader.from_batches(batches[0].schema, batches)
    assert abs(st.descend(reader, "weight", method="auto").loss) < 1e-12


def test_memory_maps_are_used_in_place(tmp_path: Path, data: Any) -> None:
    X, y, _ = data
    np.save(tmp_path / "X", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    options: dict[str, Any] = {"loss": "log_loss", "method": "lbfgs", "n_steps": 5}
    assert st.descend(mapped, y, **options).parameters.tobytes() == st.descend(X, y, **options).parameters.tobytes()


@pytest.mark.parametrize("form", ["npy", "parquet files", "csv", "blocks"])
@pytest.mark.parametrize("class_weight", [None, "balanced", {"no": 2.0}])
def test_classifiers(form: str, class_weight: Any, tmp_path: Path, data: Any) -> None:
    X, y, weights = data
    given, others = FORMS[form](tmp_path, X, y, weights)
    fit = st.GDClassifier(class_weight=class_weight, solver="lbfgs", tol=1e-10).fit(given, **others)
    whole = st.GDClassifier(class_weight=class_weight, solver="lbfgs", tol=1e-10).fit(X, y, sample_weight=weights)
    assert fit.status_ == "converged"
    np.testing.assert_allclose(fit.coef_, whole.coef_, rtol=1e-5, atol=1e-6)
    assert fit.n_features_in_ == D
    assert fit.classes_.tolist() == whole.classes_.tolist()
    frame: Any = X
    if form in {"parquet files", "csv"}:
        assert fit.feature_names_in_.tolist() == [f"c{j}" for j in range(D)]
        frame = table(X, y, weights).select(fit.feature_names_in_.tolist())
    assert (fit.predict(frame) == whole.predict(X)).mean() > 0.99


@pytest.mark.parametrize("form", ["npy", "parquet", "csv", "blocks"])
def test_regressors(form: str, tmp_path: Path, data: Any) -> None:
    X, _, weights = data
    y = np.round(np.exp(X[:, 0]))
    given, others = FORMS[form](tmp_path, X, y, weights)
    fit = st.GDRegressor("poisson", tol=1e-10, solver="lbfgs").fit(given, **others)
    whole = st.GDRegressor("poisson", tol=1e-10, solver="lbfgs").fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(fit.coef_, whole.coef_, rtol=1e-5, atol=1e-6)
    validated = st.GDRegressor("poisson", max_iter=5, tol=0).fit(given, **others, eval_set=(X[:50], y[:50]))
    assert validated.fit_.validation_loss is not None
    with pytest.raises(st.InputError, match="validation_fraction: rows are not drawn from data in blocks"):
        st.GDRegressor(early_stopping=True).fit(given, **others)


@pytest.mark.parametrize("method", ["sgd", "adam"])
@pytest.mark.parametrize("form", ["npy", "parquet", "csv", "blocks"])
def test_mini_batches_go_on_bit_for_bit(method: str, form: str, tmp_path: Path, data: Any) -> None:
    before = threading.active_count()
    X, y, weights = data
    given, others = FORMS[form](tmp_path, X, y, weights)
    options: dict[str, Any] = {"loss": "log_loss", "method": method, "batch_size": 16, "precondition": True}
    fit = st.descend(given, **others, **options, n_steps=150)
    assert fit.loss < 0.8 * fit.history.loss[0]
    half = st.descend(given, **others, **options, n_steps=71)
    on = st.descend(given, **others, **options, n_steps=79, start=half)
    assert on.parameters.tobytes() == fit.parameters.tobytes()
    other = st.descend(given, **others, **options, n_steps=150, random_state=1)
    assert other.parameters.tobytes() != fit.parameters.tobytes()
    assert threading.active_count() == before


def test_mini_batches_have_every_row_once(data: Any) -> None:
    X, y, _ = data
    stream = st_streams.as_blocks([(X[a : a + 90], y[a : a + 90]) for a in range(0, N, 90)], None)
    assert stream is not None
    orders = []
    for epoch in range(3):
        blocks = list(stream.epoch(5, epoch))
        orders.append([block.name for block in blocks])
        assert sorted(orders[-1]) == sorted(f"block {i}" for i in range(8))
    assert len({tuple(order) for order in orders}) > 1
    assert [block.name for block in stream.epoch(5, 0)] == orders[0]


def test_progress_shows_what_was_read(data: Any, capfd: pytest.CaptureFixture[str]) -> None:
    X, y, _ = data
    st.descend([(X, y)], loss="log_loss", n_steps=3, progress=True)
    # A look at all rows, their curvature, the start, and a pass for each step.
    assert "GB read, 6 passes" in capfd.readouterr().err


#: Peaks of memory above what is there when all is imported; the file is four times as large as the limit.
LIMIT = 64 << 20
IN_LITTLE_MEMORY = """
import sys, numpy as np, pyarrow.parquet, steepest as st
from steepest.sources import files
files.BLOCK_BYTES = 4 << 20
def peak(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith(name))
path, y, loss = sys.argv[1:4]
# What the libraries keep of their first use is not the stream's.
st.descend(sys.argv[5], "y" if path.endswith("parquet") else np.arange(999.0), n_steps=1)
before = peak("VmHWM")
options = {"alpha": 1e-3, "method": "lbfgs", "precondition": True, "n_steps": 4, "n_threads": int(sys.argv[6])}
fit = st.descend(path, y, loss=loss, **options)
print(peak("VmHWM") - before)
np.save(sys.argv[4], fit.parameters)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks of memory are read from Linux's /proc")
@pytest.mark.parametrize(
    ("kind", "loss", "n_threads"), [("npy", "log_loss", 1), ("npy", "log_loss", 3), ("parquet", "mse", 1)]
)
def test_a_file_of_four_times_the_memory(kind: str, loss: str, n_threads: int, tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    n, d = 4 * LIMIT // (4 * 64), 64
    X = generator.standard_normal((n, d), dtype=np.float32)
    y = (X[:, 0] + X[:, 1] + generator.standard_normal(n, dtype=np.float32) > 0).astype(np.float32)
    if kind == "npy":
        path, target = tmp_path / "X.npy", str(tmp_path / "y.npy")
        np.save(path, X)
        np.save(target, y)
        np.save(tmp_path / "little.npy", X[:999])
    else:
        path, target = tmp_path / "X.parquet", "y"
        columns = {f"c{j}": X[:, j] for j in range(d)}
        parquet.write_table(pa.table({**columns, "y": y}), path, row_group_size=1 << 13, compression="none")
        parquet.write_table(
            pa.table({**{name: column[:999] for name, column in columns.items()}, "y": y[:999]}),
            tmp_path / "little.parquet",
        )
    names = [str(tmp_path / name) for name in ("w.npy", f"little.{kind}")]
    command = [sys.executable, "-c", IN_LITTLE_MEMORY, str(path), target, loss, *names, str(n_threads)]
    peak = int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout)
    assert path.stat().st_size >= 4 * LIMIT
    assert peak <= LIMIT
    whole = st.descend(X, y, loss=loss, alpha=1e-3, method="lbfgs", precondition=True, n_steps=4, strategy="stream")
    np.testing.assert_allclose(np.load(tmp_path / "w.npy"), whole.parameters, atol=1e-4)
