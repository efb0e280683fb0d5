"""Rows on a cluster: the bits and the optimum of one machine, and errors that name the partition."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import steepest
from steepest.blocks import merged
from steepest.checkpoint import read_checkpoint
from steepest.distributed import connected
from steepest.distributed.cluster import grouped
from steepest.distributed.tasks import subtrees
from tolerance import tolerance

pytest.importorskip("distributed", reason="needs dask.distributed")

import dask.array as da
import dask.dataframe as dd
import pandas as pd
from dask import delayed

import children
import clusters
import test_cli
from clusters import ROWS, blocks, broken, poison, scale, table, together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from distributed import Client

    from fake_gpu import FakeCupy

# On one process, where tests are spread over several: one cluster at a time.
pytestmark = pytest.mark.xdist_group("cluster")

#: What is fitted on 1, 2 and 4 workers: kind of blocks, type of X, options. Steps are as many as rounding lets agree.
CASES: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "mse": ("numbers", np.float64, {"method": "auto", "tol": 1e-10}),
    "mse, streamed": ("numbers", np.float64, {"method": "lbfgs", "strategy": "stream", "n_steps": 12}),
    "mse, float32": ("numbers", np.float32, {"method": "auto", "tol": 1e-5}),
    "log_loss": ("two", np.float64, {"loss": "log_loss", "method": "lbfgs", "n_steps": 12, "precondition": True}),
    "log_loss, float32": ("two", np.float32, {"loss": "log_loss", "method": "lbfgs", "n_steps": 6}),
    "log_loss, sparse": ("sparse", np.float64, {"loss": "log_loss", "method": "lbfgs", "n_steps": 12}),
    "softmax": ("three", np.float64, {"loss": "log_loss", "method": "newton", "n_steps": 6}),
    "lasso": ("numbers", np.float64, {"method": "nesterov", "strategy": "stream", "l1_ratio": 1.0, "n_steps": 20}),
}
#: Of these, one for each way to the optimum and to the rows.
USUAL = ["mse", "log_loss, float32", "log_loss, sparse", "lasso"]
DEEP = os.environ.get("STEEPEST_TEST_PROFILE") == "deep"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with clusters.cluster(1) as client:
        yield client


@pytest.fixture
def two(client: Client) -> Client:
    """Two workers."""
    scale(client, 2)
    return client


@given(st.data(), st.integers(1, 40))
def test_any_order_of_merging_is_the_one_tree(data: st.DataObject, n: int) -> None:
    def merge(a: str, b: str) -> str:
        return f"({a}{b})"

    parts = [None if data.draw(st.booleans()) and i else f"{i}." for i in range(n)]
    owners = data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    nodes: dict[tuple[int, int], Any] = {}
    for owner in data.draw(st.permutations(range(4))):
        own = {(i, 1): parts[i] for i in range(n) if owners[i] == owner}
        nodes = subtrees(nodes | subtrees(own, n, merge), n, merge)
    (result,) = nodes.values()
    assert result == merged(parts, merge)


@given(
    st.lists(st.lists(st.sampled_from("abcd"), unique=True), max_size=30),
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 4), min_size=1),
)
def test_every_partition_is_read_once_and_no_thread_has_two_more_than_another(
    held: list[list[str]], threads: dict[str, int]
) -> None:
    held = [[worker for worker in workers if worker in threads] for workers in held]
    groups = dict(grouped(held, threads))
    assert sorted(number for numbers in groups.values() for number in numbers) == list(range(len(held)))
    most = max((len(numbers) / threads[worker] for worker, numbers in groups.items()), default=0)
    for worker, n in threads.items():
        assert most <= (len(groups.get(worker, [])) + 1) / n


def test_who_holds_a_partition_reads_it() -> None:
    held = [["b"], ["a"], ["b"], ["a"]]
    assert grouped(held, {"a": 1, "b": 1}) == [("a", [1, 3]), ("b", [0, 2])]
    assert grouped(held, {"a": 1, "b": 1, "c": 1}) == [("a", [1]), ("b", [0, 2]), ("c", [3])]


@pytest.mark.filterwarnings("ignore::steepest.ConvergenceWarning")
def test_bits_depend_on_no_number_of_workers(client: Client) -> None:
    found: dict[str, list[steepest.Fit]] = {name: [] for name in (CASES if DEEP else USUAL)}
    for n_workers in (1, 2, 4):
        scale(client, n_workers)
        for name, fits in found.items():
            kind, dtype, options = CASES[name]
            fits.append(steepest.descend(blocks(7, kind, dtype), None, alpha=0.01, **options))
    for name, fits in found.items():
        kind, dtype, options = CASES[name]
        assert len({(fit.parameters.tobytes(), fit.history.loss.tobytes()) for fit in fits}) == 1, name
        whole = steepest.descend(*together(7, kind, dtype), alpha=0.01, **options)
        close = 1e-12 if dtype is np.float64 else tolerance(np.float32, 7 * ROWS, 4)
        scale_of = np.abs(whole.parameters).max()
        np.testing.assert_allclose(
            fits[0].parameters, whole.parameters, rtol=close, atol=close * scale_of, err_msg=name
        )
        np.testing.assert_allclose(fits[0].loss, whole.loss, rtol=close, err_msg=name)
    assert found["mse"][0].strategy == "gram"


command = test_cli.steepest


@pytest.mark.parametrize("loss", ["mse", "log_loss"])
def test_blocks_on_a_gpu_are_evaluated_there(gpu: FakeCupy, loss: str) -> None:
    X, y = together(2, "numbers" if loss == "mse" else "two")
    options: dict[str, Any] = {"loss": loss, "method": "lbfgs", "alpha": 0.01, "n_steps": 5}
    on_gpu = [(gpu.asarray(X[rows]), y[rows]) for rows in (slice(0, 100), slice(100, None))]
    fit = steepest.descend(on_gpu, None, **options)
    np.testing.assert_allclose(fit.parameters, steepest.descend(X, y, strategy="stream", **options).parameters, 1e-9)
    assert gpu.launches


OPTIONS: dict[str, Any] = {"alpha": 0.01, "method": "auto", "tol": 1e-10}


def assert_same(fit: steepest.Fit, whole: steepest.Fit) -> None:
    np.testing.assert_allclose(fit.parameters, whole.parameters, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("two")
def test_what_dask_holds() -> None:
    X, y = together(4)
    weight, offset = 1.0 + np.arange(len(y)) % 3, np.sin(np.arange(len(y)))
    whole = steepest.descend(X, y, sample_weight=weight, **OPTIONS)
    X_, y_, weight_ = da.from_array(X, chunks=(150, 2)), da.from_array(y, chunks=77), da.from_array(weight, chunks=100)
    assert_same(steepest.descend(X_, y_, sample_weight=weight_, **OPTIONS), whole)
    assert_same(steepest.descend(X_.persist(), y, sample_weight=weight, **OPTIONS), whole)
    assert_same(steepest.descend(X_, y_, offset=offset, **OPTIONS), steepest.descend(X, y, offset=offset, **OPTIONS))
    assert_same(steepest.descend(X_[:, 0], y_, **OPTIONS), steepest.descend(X[:, 0], y, **OPTIONS))

    frame = pd.DataFrame(X, columns=list("abcde")).assign(y=y, weight=weight)
    frames = dd.from_pandas(frame, npartitions=3)
    fit = steepest.descend(frames, "y", sample_weight="weight", **OPTIONS)
    assert_same(fit, whole)
    assert fit.feature_names == list("abcde")
    assert_same(steepest.descend(frames[list("abcde")], frames["y"], sample_weight=frames["weight"], **OPTIONS), whole)

    def part(rows: slice) -> tuple[Any, Any, Any]:
        return X[rows], y[rows], weight[rows]

    lazy = [delayed(part)(slice(start, start + 100)) for start in range(0, len(y), 100)]
    assert_same(steepest.descend(lazy, None, **OPTIONS), whole)


@pytest.mark.usefixtures("two")
def test_estimators() -> None:
    X, y = together(4, "two")
    frame = dd.from_pandas(pd.DataFrame(X, columns=list("abcde")).assign(y=y), npartitions=3)
    options: dict[str, Any] = {"solver": "lbfgs", "tol": 1e-9, "class_weight": "balanced"}
    model = steepest.GDClassifier(**options).fit(frame, "y")
    whole = steepest.GDClassifier(**options).fit(pd.DataFrame(X, columns=list("abcde")), y)
    np.testing.assert_allclose(model.coef_, whole.coef_, rtol=1e-6)
    assert model.feature_names_in_.tolist() == list("abcde")
    assert model.predict(frame.drop(columns="y").compute())[0] in {"no", "yes"}
    X, y = together(4)
    fit = steepest.GDRegressor(alpha=0.01).fit(da.from_array(X, chunks=(100, -1)), da.from_array(y, chunks=100)).fit_
    assert_same(fit, steepest.GDRegressor(alpha=0.01).fit(X, y).fit_)


def test_futures_are_blocks(two: Client) -> None:
    futures = two.map(clusters.block, range(3))
    assert_same(steepest.descend(futures, None, **OPTIONS), steepest.descend(*together(3), **OPTIONS))


@pytest.mark.usefixtures("two")
def test_empty_partitions_and_labels_that_only_some_have() -> None:
    X, y = together(3, "three")
    order = np.argsort(y, kind="stable")
    X, y = X[order], y[order]
    chunks = (0, 100, 0, len(y) - 100)
    options: dict[str, Any] = {"loss": "log_loss", "alpha": 0.01, "method": "newton", "n_steps": 6}
    fit = steepest.descend(da.from_array(X).rechunk((chunks, -1)), y, **options)
    assert len(set(y[:100].tolist())) == 1
    assert fit.classes is not None
    assert fit.classes.tolist() == [0, 1, 2]
    assert_same(fit, steepest.descend(X, y, **options))


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("loss", ["mse", "log_loss"])
def test_going_on_is_bit_for_bit(loss: str) -> None:
    data = blocks(5, "numbers" if loss == "mse" else "two")
    options: dict[str, Any] = {"loss": loss, "method": "lbfgs", "strategy": "stream"}
    whole = steepest.descend(data, None, n_steps=9, **options)
    half = steepest.descend(data, None, n_steps=4, **options)
    rest = steepest.descend(data, None, n_steps=5, start=half, **options)
    assert rest.parameters.tobytes() == whole.parameters.tobytes()
    assert rest.history.loss.tobytes() == whole.history.loss[4:].tobytes()


def changed(number: int, what: str) -> tuple[Any, Any]:
    """Return a block; the third is not what it should be."""
    X, y = clusters.block(number)
    if number == 3:
        match what:
            case "nan":
                X[7, 2] = np.nan
            case "narrow":
                X = X[:, :4]
            case "float32":
                X = X.astype(np.float32)
            case "y":
                y = y[:-1]
    return X, y


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nan", r"^partition 3: X: expected finite numbers; X\[7, 2\] is nan"),
        ("narrow", r"^partition 3: X: expected 5 columns, as in partition 2; got 4"),
        ("float32", r"^partition 3: X: expected float64, as in partition 2; got float32"),
        ("y", r"^partition 3: y: expected shape \(120,\); got \(119,\)"),
    ],
)
def test_errors_name_the_partition(what: str, message: str) -> None:
    with pytest.raises(steepest.InputError, match=message):
        steepest.descend([delayed(changed)(number, what) for number in range(5)], None, **OPTIONS)


@pytest.mark.usefixtures("two")
def test_a_partition_that_cannot_be_read_is_named() -> None:
    with pytest.raises(steepest.ClusterError, match=r"^partition 5: OSError: the disk is gone"):
        steepest.descend([delayed(broken)(number) for number in range(8)], None, **OPTIONS)


@pytest.mark.usefixtures("two")
def test_a_partition_that_kills_its_workers_is_named() -> None:
    with pytest.raises(steepest.ClusterError, match=r"^partition 5: each of the 4 workers that read it died"):
        steepest.descend([delayed(poison)(number) for number in range(8)], None, **OPTIONS)


def test_a_partition_that_kills_its_workers_is_named_rather_than_one_that_waited_there(tmp_path: Path) -> None:
    with clusters.cluster(1) as client:
        suspects = clusters.suspects(client, tmp_path / "deaths", 99)
        with pytest.raises(steepest.ClusterError, match=r"^partition 1: each of the 4 workers that read it died"):
            steepest.descend(suspects, None, **OPTIONS)
    # Four, and one that read nothing else.
    assert len(list((tmp_path / "deaths").iterdir())) == 5


def test_partitions_that_workers_outlive_in_the_end_are_read(tmp_path: Path) -> None:
    """What killed their workers may have been something else."""
    with clusters.cluster(1) as client:
        suspects = clusters.suspects(client, tmp_path / "deaths", 4)
        assert_same(steepest.descend(suspects, None, **OPTIONS), steepest.descend(*together(2), **OPTIONS))


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    ("X", "options", "message"),
    [
        (da.ones((8, 2), chunks=4), {"y": da.ones(7, chunks=4)}, r"^y: expected 8 rows as X has; got 7"),
        (da.ones((8, 2), chunks=4), {"y": np.ones(7)}, r"^y: expected 8 rows as X has; got 7"),
        (blocks(2), {"y": np.ones(3)}, "^y: expected None beside a list of blocks"),
        (dd.from_pandas(pd.DataFrame({"a": [1.0]})), {"y": "b"}, "^y: there is no column 'b'; columns: a"),
        (dd.from_pandas(pd.DataFrame({"a": [1.0]})), {"y": [1.0]}, "^y: X does not know how many rows"),
        (blocks(2), {"y": None, "method": "sgd"}, "^method: mini-batches would bring every partition"),
        (da.ones((8, 2), chunks=4), {"y": "price"}, "^y: expected an array, of dask or in memory; got 'price'"),
        (da.ones((8, 2), chunks=4), {"y": None}, "^y: expected targets; got None"),
        (
            [(delayed(np.ones)((4, 2)), delayed(np.ones)(4))],
            {"y": None},
            r"^X: expected each block to be one delayed tuple or future; .* dask.delayed\(block\) makes one",
        ),
        ([delayed(table)(0), delayed(len)("abc")], {"y": None}, r"^partition 1: X: expected blocks \(X, y\)"),
    ],
)
def test_bad_input(X: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(steepest.InputError, match=message):
        steepest.descend(X, n_steps=2, **options)


def _no_client(_kind: Any) -> Any:
    raise ValueError("no client")


def test_without_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distributed.Client.current", classmethod(_no_client))
    with pytest.raises(steepest.InputError, match=r"^X: a collection of Dask needs a cluster; client = "):
        steepest.descend(blocks(2), None)


def test_a_scheduler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steepest.distributed.ANSWER", 1.0)
    began = time.monotonic()
    with pytest.raises(steepest.InputError, match=r"^cluster: no scheduler answers at tcp://127\.0\.0\.1:9"):
        with_cluster("tcp://127.0.0.1:9")
    assert time.monotonic() - began < 20
    with pytest.raises(steepest.InputError, match=r"^cluster: expected local:N"):
        with_cluster("local:none")
    for count in ("0", "1001", "99999999999", "9" * 5000):
        with pytest.raises(steepest.InputError, match=r"^cluster: expected local:N with N workers, 1,000 at most"):
            with_cluster(f"local:{count}")


def with_cluster(address: str) -> None:
    """Connect, and leave again."""
    with connected(address):
        pass


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_command_line(two: Client, tmp_path: Path, command: Callable[..., Any], ending: str) -> None:
    X, y = together(4)
    names = list("abcde")
    frame = pd.DataFrame(X, columns=names).assign(y=y)
    for part in range(3):
        rows = frame.iloc[part::3]
        path = tmp_path / f"part-{part}.{ending}"
        rows.to_parquet(path) if ending == "parquet" else rows.to_csv(path, index=False)
    test = tmp_path / f"test.{ending}"
    frame.to_parquet(test) if ending == "parquet" else frame.to_csv(test, index=False)
    model = tmp_path / "model.safetensors"
    outcome = command(
        "fit",
        str(tmp_path / f"part-*.{ending}"),
        *("--target", "y", "--cluster", two.scheduler.address, "--eval", str(test), "--model", str(model)),
        *("--tol", "1e-10", "--alpha", "0.01", "--drop", "e", "--json"),
    )
    assert outcome.code == 0, outcome.err
    assert outcome.err.startswith("3 partitions on 2 workers\n")
    result = json.loads(outcome.out)
    whole = steepest.descend(X[:, :4], y, **OPTIONS)
    np.testing.assert_allclose([result["coefficients"][0][name] for name in names[:4]], whole.coef, rtol=1e-9)
    assert result["rows"] == len(y)
    assert steepest.load(model).predict(frame.drop(columns="y"))[0] == pytest.approx(
        X[0, :4] @ whole.coef + whole.intercept
    )
    written = ("--loss", "huber", "--checkpoint", str(tmp_path / "run.safetensors"), "--steps", "3")
    outcome = command(
        "fit", str(tmp_path / f"part-*.{ending}"), "--target", "y", *written, "--cluster", two.scheduler.address
    )
    assert outcome.code == 0, outcome.err
    assert read_checkpoint(tmp_path / "run.safetensors").solution.n_steps == 3
    for file, options, message in [
        ("part-*", ("--target", "z"), "target: there is no column 'z'; columns: a, b, c, d, e, y"),
        ("part-*", ("--target", "y", "--threads", "2"), "threads: expected none with --cluster"),
        ("none-*", ("--target", "y"), "file: "),
    ]:
        outcome = command("fit", str(tmp_path / f"{file}.{ending}"), *options, "--cluster", two.scheduler.address)
        assert outcome.code == 1
        assert outcome.err.startswith(f"error: {message}")


@pytest.mark.parametrize("loss", [(), ("--loss", "mse")])
def test_a_parquet_file_that_lacks_a_column_is_named(
    two: Client, tmp_path: Path, command: Callable[..., Any], loss: tuple[str, ...]
) -> None:
    X, y = together(4)
    frame = pd.DataFrame(X, columns=list("abcde")).assign(y=y)
    for part in range(3):
        (frame if part != 1 else frame.drop(columns="d")).iloc[part::3].to_parquet(tmp_path / f"part-{part}.parquet")
    pattern = str(tmp_path / "part-*.parquet")
    outcome = command("fit", pattern, "--target", "y", *loss, "--cluster", two.scheduler.address)
    assert outcome.code == 1
    *_, last = outcome.err.splitlines()
    assert last == f"error: file: {tmp_path / 'part-1.parquet'}: expected the columns of the first file; it has no 'd'"
    outcome = command("fit", pattern, "--target", "y", "--drop", "d", *loss, "--cluster", two.scheduler.address)
    assert outcome.code == 0, outcome.err


def test_command_line_without_memory(
    tmp_path: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_table(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("steepest.cli.models.read_table", read_table)
    outcome = command("fit", str(tmp_path / "all.csv"), "--target", "y")
    assert outcome.code == 1
    assert re.match(r"error: file: .*all\.csv does not fit into memory; --cluster local:2 reads it in", outcome.err)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for a group of processes")
def test_command_line_on_processes_of_its_own_and_its_end_by_ctrl_c(tmp_path: Path) -> None:
    X, y = together(4)
    for part in range(3):
        pd.DataFrame(X[part::3], columns=list("abcde")).assign(y=y[part::3]).to_parquet(tmp_path / f"{part}.parquet")
    options = ["--target", "y", "--cluster", "local:2", "--loss", "huber", "--method", "gd", "--tol", "0"]
    options += ["--steps", "1000000", "--checkpoint", str(tmp_path / "run")]
    program = children.start(
        "if __name__ == '__main__':\n    from steepest.cli import main\n    main()",
        *("fit", str(tmp_path / "*.parquet"), *options),
    )
    try:
        limit = time.monotonic() + 30
        while not (tmp_path / "run").exists():
            assert program.poll() is None, program.communicate()
            assert time.monotonic() < limit
            time.sleep(0.05)
        # As a terminal does: to the workers too.
        os.killpg(program.pid, signal.SIGINT)
        output, errors = program.communicate(timeout=15)
    finally:
        children.end(program)
    assert program.returncode == 130
    assert not output
    first, *rest, last = errors.splitlines()
    assert first == "3 partitions on 2 workers"
    # The bar.
    assert len(rest) <= 2, errors
    assert last == "error: interrupted"
    assert read_checkpoint(tmp_path / "run").solution.n_steps > 0
