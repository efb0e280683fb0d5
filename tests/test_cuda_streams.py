"""X that is larger than the memory of a GPU goes through it in pieces: the same bits, and only pieces are there."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import steepest as st
from fake_gpu import Array, FakeCupy, Stream, _Event
from steepest.backends import get_backend, kernels, resident, streamed
from steepest.choice import worth_a_gpu
from strategies import example
from tolerance import tolerance

#: A piece of one chunk of three columns.
PIECE_BYTES = 512 * 3 * 8


@pytest.fixture
def small(gpu: FakeCupy, monkeypatch: pytest.MonkeyPatch) -> FakeCupy:
    """A GPU that holds a few pieces, and does all by passes."""
    monkeypatch.setattr(streamed, "PIECE_BYTES", PIECE_BYTES)
    monkeypatch.setattr(resident, "BLOCK_BYTES", 0)
    monkeypatch.setattr(gpu.cuda.runtime, "memGetInfo", lambda: (3 * PIECE_BYTES, 3 * PIECE_BYTES))
    return gpu


def descend(n: int, kind: str = "binary", d: int = 3, dtype: Any = np.float64, **options: Any) -> st.Fit:
    sample = example(kind, n=n, d=d).cast(dtype)
    weights = np.linspace(0.5, 2, n)
    options = {"loss": sample.loss, "n_steps": 4, "alpha": 0.1, "sample_weight": weights, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", st.ConvergenceWarning)
        return st.descend(sample.X, sample.y, backend="cupy", strategy="stream", **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2100, 3), (4096, 4), (2049, 16)])
@pytest.mark.parametrize("method", ["gd", "lbfgs", "nesterov"])
def test_the_bits_are_those_of_x_on_the_gpu(
    small: FakeCupy, method: str, shape: tuple[int, int], dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    n, d = shape
    kind = "softmax" if (method, n) == ("lbfgs", 2100) else "binary"
    options: dict[str, Any] = {"method": method, "learning_rate": 0.02 if method == "gd" else "auto"}
    through = descend(n, kind, d=d, dtype=dtype, **options)
    assert small.launches
    monkeypatch.setattr(small.cuda.runtime, "memGetInfo", lambda: (1 << 30, 1 << 30))
    there = descend(n, kind, d=d, dtype=dtype, **options)
    assert through.parameters.tobytes() == there.parameters.tobytes()
    assert through.history.loss.tobytes() == there.history.loss.tobytes()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("mse", {"method": "sgd", "batch_size": 64}),
        ("poisson", {"method": "nesterov", "precondition": True}),
        ("softmax", {"method": "lbfgs"}),
        ("probabilities", {"method": "lbfgs"}),
        ("two targets", {"method": "sgd", "batch_size": 64}),
        ("binary", {"method": "newton"}),
    ],
)
def test_whatever_reads_rows_finds_them(small: FakeCupy, kind: str, options: dict[str, Any]) -> None:
    """Mini-batches, moments, Hessians, several scores: where no pass goes through X."""
    found = descend(2100, kind, **options)
    sample = example(kind, n=2100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", st.ConvergenceWarning)
        given: dict[str, Any] = {"loss": sample.loss, "n_steps": 4, "alpha": 0.1, **options}
        weights = np.linspace(0.5, 2, 2100)
        expected = st.descend(sample.X, sample.y, backend="numpy", strategy="stream", sample_weight=weights, **given)
    assert np.abs(found.parameters - expected.parameters).max() <= tolerance(np.float64, 21_000)
    assert small.used


def test_moments_of_what_does_not_fit(small: FakeCupy) -> None:
    sample = example("mse", n=2100)
    fits = [st.descend(sample.X, sample.y, method="newton", strategy="gram", backend=b) for b in ("cupy", "numpy")]
    assert np.abs(fits[0].parameters - fits[1].parameters).max() <= tolerance(np.float64, 21_000)
    assert small.used


def test_two_pieces_are_all_that_is_there(small: FakeCupy) -> None:
    """Of X by columns, too; a pass is launched once a piece, and reads what was brought for it."""
    sample = example("binary", n=5000)
    small.largest = 0
    for X in (sample.X, np.asfortranarray(sample.X)):
        small.launches.clear()
        st.loss_and_gradient(X, sample.y, np.zeros(3), loss="log_loss", backend="cupy")
        assert small.launches.count("ANY_PASS") == -(-5000 // 512)
        # A column of targets is larger than a piece of X.
        assert small.largest <= max(PIECE_BYTES, sample.y.nbytes)


def test_buffers_are_taken_when_they_are_free(small: FakeCupy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece is copied over another only after the event that follows the pass over that one; so in pinned memory."""
    log: list[tuple[str, Any]] = []

    def spy(owner: Any, name: str, what: str, of: Any) -> None:
        function = getattr(owner, name)

        def spied(*arguments: Any, **options: Any) -> Any:
            log.append((what, of(*arguments)))
            return function(*arguments, **options)

        monkeypatch.setattr(owner, name, spied)

    def address(array: Array) -> int:
        return int(array.values.ctypes.data)

    spy(kernels.FusedPass, "launch", "pass", lambda fused, *_: address(fused.X))
    spy(_Event, "record", "record", lambda event, *_: event)
    spy(_Event, "synchronize", "synchronize", lambda event: event)
    spy(Stream, "wait_event", "wait", lambda _, event: event)
    spy(Array, "set", "copy", lambda array, *_: address(array))
    descend(4000, n_steps=2, learning_rate=0.01)
    last: dict[tuple[str, Any], int] = {}
    for place, (what, of) in enumerate(log):
        if what == "copy":
            # The first time, after what was to run before it.
            assert log[place - 1][0] == "wait"
            assert ("record", log[place - 1][1]) in log[:place]
        if what == "copy" and ("pass", of) in last:
            for before, waiting in (("pass", "wait"), ("copy", "synchronize")):
                since = last[before, of]
                followed = next(event for kind, event in log[since:] if kind == "record")
                assert (waiting, followed) in log[since:place]
        last[what, of] = place
    assert sum(what == "copy" for what, _ in log) > 10
    assert small.launches


def test_auto_leaves_what_does_not_fit(small: FakeCupy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steepest.setup.worth_a_gpu", lambda *_: True)
    assert worth_a_gpu is not None
    sample = example("binary", n=2100)
    assert st.descend(sample.X, sample.y, loss="log_loss", n_steps=2).backend == "rust"
    assert st.descend(sample.X[:50], sample.y[:50], loss="log_loss", n_steps=2).backend == "cupy"
    assert small.used


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_streaming_on_a_real_gpu(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bytes as X there, ten times: no piece is read before it is there, nor written while it is read."""
    try:
        get_backend("cupy")
    except st.BackendUnavailableError as error:
        pytest.skip(str(error))
    from steepest.backends import cupy

    monkeypatch.setattr(streamed, "PIECE_BYTES", 1 << 20)
    options: dict[str, Any] = {"d": 32, "dtype": dtype, "learning_rate": 0.001, "n_steps": 5}
    there = descend(100_000, **options)
    monkeypatch.setattr(cupy, "MOST_SHARE", 0.0)
    assert {descend(100_000, **options).parameters.tobytes() for _ in range(10)} == {there.parameters.tobytes()}
