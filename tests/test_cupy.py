"""The backend on a GPU, on an imaginary one: the same descents, arrays in place, and no number read on the way."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as hst

import steepest as st
from fake_gpu import Array, FakeCupy, ForeignSparse, HostReadError, Reads
from samples import Sample
from steepest.backends import cupy as cupy_backend
from steepest.backends import device, get_backend, kernels, loop, resident
from steepest.backends.array import ArrayBackend
from steepest.choice import worth_a_gpu
from steepest.problem import Plan, make_problem
from steepest.tables import is_on_gpu
from strategies import KINDS, example, samples
from test_portability import CASES, PLANS, plan_of, problem
from tolerance import tolerance

#: Methods that make steps without looking at a number.
BLIND: dict[str, dict[str, Any]] = {
    "gd": {"method": "gd", "learning_rate": 0.01},
    "momentum": {"method": "momentum", "learning_rate": st.Exponential(0.01)},
    "nesterov": {"method": "nesterov", "learning_rate": st.Cosine(0.01, n_steps=500)},
    "adam": {"method": "adam"},
    "sgd": {"method": "sgd", "batch_size": 5, "learning_rate": 0.01},
}


@pytest.fixture(autouse=True)
def _no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many steps are made before a look must not depend on how busy this machine is."""
    monkeypatch.setattr(loop, "MOST_SECONDS_AHEAD", np.inf)


def host(array: Any) -> Any:
    """Return what came back on the GPU."""
    return array.get()


def assert_close(gpu_fit: st.Fit, fit: st.Fit, n: int) -> None:
    scale = 1 + float(np.abs(fit.coef).max())
    slack = tolerance(fit.coef.dtype, 100 * n) * scale
    assert np.abs(gpu_fit.coef - fit.coef).max() <= slack
    assert np.abs(gpu_fit.intercept - fit.intercept).max() <= slack
    assert gpu_fit.backend == "cupy"


def descend(sample: Sample, backend: str, **options: Any) -> st.Fit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", st.ConvergenceWarning)
        arguments: dict[str, Any] = {"loss": sample.loss, "classes": sample.classes, "n_steps": 12, **options}
        return st.descend(sample.X, sample.y, backend=backend, **arguments)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["gd", "nesterov", "adam", "sgd", "lbfgs", "newton"])
def test_descents_are_those_of_the_reference(gpu: FakeCupy, kind: str, method: str) -> None:
    sample = example(kind, n=530)
    weights, generator = np.linspace(0.5, 2, 530), np.random.default_rng(0)
    offset = generator.normal(size=(530, KINDS[kind].width) if KINDS[kind].width > 1 else 530)
    options: dict[str, Any] = {"method": method, "sample_weight": weights, "offset": offset, "strategy": "stream"}
    options |= {"alpha": 0.1, "n_steps": 4, "l1_ratio": 0.0 if method in {"lbfgs", "newton"} else 0.5}
    fit, expected = (descend(sample, name, **options) for name in ("cupy", "numpy"))
    assert_close(fit, expected, 530)
    reads_rows = KINDS[kind].width == 1 or kind == "softmax"
    assert bool({"ROW_PASS", "ANY_PASS", "ONE_BLOCK"} & set(gpu.launches)) == reads_rows
    assert "SCORE_PASS" in gpu.launches or (reads_rows and method != "sgd")


@pytest.mark.parametrize("n_classes", [3, 8, 9])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("method", ["nesterov", "lbfgs"])
def test_softmax_of_few_classes_is_fused(
    gpu: FakeCupy, method: str, order: Any, n_classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With line searches, which keep the scores, and without; of more classes, by two products and a pass between."""
    # Two blocks, the first of two chunks.
    monkeypatch.setattr(device, "BLOCK_BYTES", 520 * 8 * 9)
    sample = example("softmax", n=530).but(y=np.arange(530.0) % n_classes, n_classes=n_classes).cast(np.float64, order)
    options: dict[str, Any] = {"method": method, "strategy": "stream", "alpha": 0.1, "n_steps": 4}
    options |= {"sample_weight": np.linspace(0, 2, 530), "fit_intercept": method == "lbfgs"}
    options |= {"offset": np.random.default_rng(0).normal(size=(530, n_classes))}
    fit, expected = (descend(sample, name, **options) for name in ("cupy", "numpy"))
    assert_close(fit, expected, 530)
    is_few = n_classes <= kernels.MOST_CLASSES
    usual = {"ANY_PASS" if is_few else "SCORE_PASS", "FOLD", *(["FINISH"] if method == "nesterov" else [])}
    # What is tried along a line is scores.
    assert usual <= set(gpu.launches) <= usual | ({"SCORE_PASS"} if method == "lbfgs" else set())


@pytest.mark.parametrize(("d", "n_classes"), [(3, 12), (12, 3)])
def test_a_block_of_rows_and_its_scores_are_of_a_size(
    gpu: FakeCupy, d: int, n_classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few columns there are, the scores of many classes must fit, too."""
    monkeypatch.setattr(device, "BLOCK_BYTES", 100 * 8 * 12)
    sample = example("softmax", n=530, d=d).but(y=np.arange(530.0) % n_classes, n_classes=n_classes)
    objective = device.DeviceObjective(sample.problem(), gpu, lambda posed: gpu.asarray(posed.design), 1)
    assert [rows.stop - rows.start for rows in objective._blocks()] == [100] * 5 + [30]


@pytest.mark.parametrize("kind", ["mse", "two targets"])
@pytest.mark.parametrize("method", ["gd", "newton"])
@pytest.mark.parametrize("options", [{}, {"fit_intercept": False}, {"precondition": True, "alpha": 0.1}])
def test_moments_are_taken_on_the_gpu(gpu: FakeCupy, kind: str, method: str, options: dict[str, Any]) -> None:
    sample = example(kind, n=300)
    weights = np.linspace(0, 2, 300)
    with pytest.MonkeyPatch.context() as patch:
        # Several blocks.
        patch.setattr(device, "BLOCK_BYTES", 100 * 8 * 3)
        fit = descend(sample, "cupy", method=method, strategy="gram", sample_weight=weights, **options)
    looks = Reads.count
    expected = descend(sample, "numpy", method=method, strategy="gram", sample_weight=weights, **options)
    assert_close(fit, expected, 300)
    assert fit.strategy == "gram"
    assert fit.condition == pytest.approx(expected.condition)
    # Means, products, and the anchor's value and gradient: two numbers each, whatever the number of steps.
    stays = (kind, method) == ("mse", "gd")
    assert looks <= 6 + 4 * stays
    assert gpu.launches == ["QUADRATIC"] * stays


def test_ill_conditioned_moments_have_the_digits_of_the_rows(gpu: FakeCupy) -> None:
    generator = np.random.default_rng(1)
    base = generator.normal(size=(400, 1))
    X = base + 1e-5 * generator.normal(size=(400, 4))
    y = X @ np.array([1.0, -2.0, 3.0, 1.0])
    fits = [st.descend(X, y, method="newton", strategy="gram", n_steps=1, backend=name) for name in ("cupy", "numpy")]
    assert (fits[0].condition or 0) > 1e9
    expected = np.linalg.lstsq(X - X.mean(0), y - y.mean())[0]
    errors = [np.abs(fit.coef - expected).max() for fit in fits]
    assert errors[0] <= max(4 * errors[1], 1e-9)
    assert gpu.used


@settings(max_examples=30)
@given(data=hst.data())
def test_gradient_is_the_reference_s(data: hst.DataObject) -> None:
    """One pass, at any point, of any sample."""
    sample = data.draw(samples()).cast(data.draw(hst.sampled_from([np.float32, np.float64])), "F")
    with pytest.MonkeyPatch.context() as patch:
        expected = sample.evaluate("numpy")
        # Without kernels: what the portable formulas say on arrays that refuse to be NumPy's.
        patch.setattr(device, "has_formula", lambda _: False)
        patch.setitem(__import__("sys").modules, "cupy", FakeCupy(__import__("pathlib").Path()))
        found = sample.evaluate("cupy")
    assert found.value == pytest.approx(expected.value, rel=1e-5)
    scale = 1 + np.abs(expected.gradient).max()
    assert np.abs(found.gradient - expected.gradient).max() <= tolerance(sample.X.dtype, 100) * scale


# ---- looks


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("most_ahead", [3, 32])
def test_looking_late_changes_nothing(name: str, most_ahead: int) -> None:
    """Not a bit of the parameters, the history, and what is remembered, wherever and however the descent ends."""
    plan, kind = plan_of(*PLANS[name]), "binary"
    if plan.method.needs_statistics:
        plan, kind = replace(plan, strategy="gram"), "mse"
    posed, held_out = problem(kind, np.float64), problem(kind, np.float64, alpha=0.0, sample_weight=None)
    start = np.linspace(-0.1, 0.1, posed.n_parameters)
    full = ArrayBackend("numpy", np).minimise(posed, None, plan, start, {}, None)
    middle = float(full.history["loss"][len(full.history["loss"]) // 2])
    endings: list[tuple[Plan, Any]] = [
        (plan, None),
        (replace(plan, n_steps=0), None),
        (replace(plan, target_loss=middle), None),
        (replace(plan, tol=float(full.history["gradient_norm"][-1] / full.history["gradient_norm"][0]) * 2), None),
        (replace(plan, patience=2), held_out),
    ]
    late = ArrayBackend("numpy", np)
    late.most_ahead = most_ahead
    for ending, validation in endings:
        each = ArrayBackend("numpy", np).minimise(posed, validation, ending, start, {}, None)
        seldom = late.minimise(posed, validation, ending, start, {}, None)
        assert (seldom.status, seldom.n_steps, seldom.loss) == (each.status, each.n_steps, each.loss)
        assert seldom.parameters.tobytes() == each.parameters.tobytes()
        for column, values in each.history.items():
            if column != "seconds":
                assert seldom.history[column].tobytes() == values.tobytes(), column
        assert {key: value.tobytes() for key, value in seldom.state.items()} == {
            key: value.tobytes() for key, value in each.state.items()
        }


def test_looking_late_finds_divergence_where_it_began() -> None:
    posed = problem("mse", np.float64)
    plan = replace(plan_of(PLANS["constant"][0], st.Constant(1e6)), n_steps=500, tol=0.0)
    late = ArrayBackend("numpy", np)
    late.most_ahead = 32
    ends = [one.minimise(posed, None, plan, np.zeros(4), {}, None) for one in (ArrayBackend("numpy", np), late)]
    assert ends[0].status == ends[1].status == "diverged"
    assert ends[0].n_steps == ends[1].n_steps < 60


def of_the_host(sample: Sample, name: str) -> Sample:
    """Return a sample of which the host makes steps: mini-batches, whose rows a sparse X finds there, or sparse."""
    sparse: Any = scipy.sparse.csr_array(sample.X)
    return sample if name == "sgd" else sample.but(X=sparse)


@pytest.mark.parametrize("name", BLIND)
def test_a_look_is_all_that_the_host_reads(gpu: FakeCupy, name: str) -> None:
    """1 + 2 + … + 16 + 32 steps are six looks; 64 steps more are two, one reading each."""
    sample = of_the_host(example("probabilities", n=20), name)
    counts = {}
    for steps in (62, 126):
        Reads.count = 0
        descend(sample, "cupy", **BLIND[name], n_steps=steps * (4 if name == "sgd" else 1), strategy="stream", tol=1e-9)
        counts[steps] = Reads.count
    assert counts[126] - counts[62] == 2
    assert gpu.used


def test_between_looks_a_read_is_trapped(gpu: FakeCupy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a step reads nothing: with a trap around it a descent is the same; a rule that looks is caught."""
    advance = loop.Way.advance

    def trapped(self: Any, here: Any, size: float) -> Any:
        Reads.trapped = True
        try:
            return advance(self, here, size)
        finally:
            Reads.trapped = False

    monkeypatch.setattr(loop.Way, "advance", trapped)
    for kind in KINDS:
        for name, options in BLIND.items():
            descend(of_the_host(example(kind), name), "cupy", **options, strategy="stream")
    with pytest.raises(HostReadError):
        descend(example("mse"), "cupy", method="gd", learning_rate="armijo", strategy="stream")
    assert gpu.launches


def test_callback_is_asked_before_every_step(gpu: FakeCupy) -> None:
    seen: list[int] = []

    def callback(info: st.StepInfo) -> bool:
        seen.append(info.step)
        return info.step == 5

    fit = descend(example("mse"), "cupy", **BLIND["gd"], callback=callback)
    assert seen == list(range(6))
    assert (fit.status, fit.n_steps) == ("stopped", 5)
    assert gpu.used


# ---- where arrays are


class Foreign:
    """An array of another library on the GPU: nothing but the protocol."""

    def __init__(self, memory: Any) -> None:
        self.memory = memory

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return dict(self.memory.__array_interface__)


class ForeignDlpack:
    """An array of a library that has arrays in both memories, all of them with the interface of CUDA."""

    def __init__(self, memory: Any, device: int) -> None:
        self.memory, self.device = memory, device

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        raise TypeError("this one is not on a GPU, or of a type that the interface does not know")

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device, 0

    def __dlpack__(self, **options: Any) -> Any:
        return self.memory.__dlpack__(**options)


def test_where_an_array_is(gpu: FakeCupy) -> None:
    values = np.eye(4)
    on_gpu, managed, here = (ForeignDlpack(values, device) for device in (2, 13, 1))
    assert is_on_gpu(on_gpu)
    assert is_on_gpu(managed)
    assert not any(map(is_on_gpu, (here, values, [1.0], None, scipy.sparse.eye_array(3).tocsr())))
    fit = st.descend(on_gpu, ForeignDlpack(np.arange(4.0), 2), n_steps=3, learning_rate=0.1)  # type: ignore[arg-type]
    assert fit.backend == "cupy"
    assert st.descend(here, np.arange(4.0), n_steps=3).backend == "rust"
    sparse = scipy.sparse.csr_array(values)
    found = st.descend(ForeignSparse(sparse), Array(np.arange(4.0)), n_steps=3, learning_rate=0.1)
    assert isinstance(found.coef, Array)
    assert np.abs(host(found.coef) - host(fit.coef)).max() <= tolerance(np.float64, 8)
    assert gpu.launches


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["c", "fortran", "strided"])
def test_x_on_the_gpu_is_used_in_place(gpu: FakeCupy, dtype: Any, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # What one block computes is brought by columns, if it is not.
    monkeypatch.setattr(resident, "BLOCK_BYTES", 0)
    sample = example("mse", n=600)
    values = np.asarray(sample.X, dtype, order="F" if kind == "fortran" else "C")
    values = np.repeat(values, 2, axis=1)[:, ::2] if kind == "strided" else values
    values.flags.writeable = False
    y = Array(sample.y.astype(dtype))
    fit = st.descend(Array(values), y, n_steps=5, learning_rate=0.001, strategy="stream")
    assert fit.backend == "cupy"
    assert isinstance(fit.coef, Array)
    assert isinstance(fit.intercept, Array)
    assert fit.coef.dtype == dtype
    # Nothing as large as a column of X was made on the way.
    assert gpu.largest < 600 * values.itemsize
    expected = st.descend(values, sample.y, n_steps=5, learning_rate=0.001, backend="numpy", strategy="stream")
    assert np.abs(host(fit.coef) - expected.coef).max() <= tolerance(dtype, 4000)
    other = st.descend(Foreign(values), Foreign(y.values), n_steps=5, learning_rate=0.001, strategy="stream")
    assert host(other.coef).tobytes() == host(fit.coef).tobytes()


@pytest.mark.parametrize("kind", ["mse", "softmax", "two targets"])
@pytest.mark.parametrize("storage", [np.float16, ml_dtypes.bfloat16], ids=str)
def test_x_may_be_stored_in_half(gpu: FakeCupy, kind: str, storage: Any) -> None:
    """The same numbers in single precision have the same fit, by every method that reads rows in its own way."""
    sample = example(kind, n=300)
    half = sample.X.astype(storage)
    y = Array(sample.y.astype(np.float32))
    options: dict[str, Any] = {"loss": sample.loss, "n_steps": 4, "alpha": 0.1, "strategy": "stream"}
    for method in ({"method": "nesterov", "precondition": True}, {"method": "sgd"}, {"method": "newton"}):
        fit, expected = (st.descend(Array(X), y, **options, **method) for X in (half, half.astype(np.float32)))
        assert fit.coef.dtype == np.float32
        assert np.abs(host(fit.coef) - host(expected.coef)).max() <= tolerance(np.float32, 3000)
    if kind == "mse":
        fit, expected = (st.descend(Array(X), y, n_steps=20, strategy="gram") for X in (half, half.astype(np.float32)))
        assert np.abs(host(fit.coef) - host(expected.coef)).max() <= tolerance(np.float32, 300)
    assert gpu.launches


def test_what_comes_after_a_fit_on_the_gpu(gpu: FakeCupy) -> None:
    """Going on, looking, validating: all of it where X is."""
    sample = example("binary", n=200)
    X, y = Array(sample.X), Array(sample.y)
    options: dict[str, Any] = {"loss": "log_loss", "learning_rate": 0.1}
    whole, half = (st.descend(X, y, n_steps=n, **options) for n in (20, 10))
    again = st.descend(X, y, n_steps=10, start=half, **options)
    assert again.parameters.tobytes() == whole.parameters.tobytes()
    value, gradient, slope = st.loss_and_gradient(X, y, whole.coef, whole.intercept, loss="log_loss")
    assert value == pytest.approx(whole.loss)
    assert isinstance(gradient, Array)
    assert isinstance(slope, float)
    steps = list(st.iterate(X, y, n_steps=3, **options))
    assert isinstance(steps[-1].coef, Array)
    held_out = st.descend(X, y, n_steps=5, eval_set=(X, y), **options)
    assert held_out.validation_loss == pytest.approx(held_out.loss)
    assert st.descend(X, y, n_steps=5, validation_fraction=0.25, **options).n_steps == 5
    assert gpu.launches


def test_host_arrays_are_moved_once(gpu: FakeCupy, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces through pinned memory, whatever their order; `iterate`, which asks again and again, moves them once."""
    monkeypatch.setattr(cupy_backend, "PINNED_BYTES", 1024)
    sent: list[int] = []
    send = cupy_backend.CupyBackend._sent

    def counted(self: Any, array: Any) -> Any:
        sent.append(array.nbytes)
        return send(self, array)

    monkeypatch.setattr(cupy_backend.CupyBackend, "_sent", counted)
    sample = example("mse", n=500)
    for X in (np.ascontiguousarray(sample.X), np.asfortranarray(sample.X)):
        sent.clear()
        steps = list(st.iterate(X, sample.y, n_steps=4, backend="cupy", learning_rate=0.001))
        expected = list(st.iterate(X, sample.y, n_steps=4, backend="numpy", learning_rate=0.001))
        assert sent == [X.nbytes]
        assert isinstance(steps[-1].coef, np.ndarray)
        assert np.abs(steps[-1].coef - expected[-1].coef).max() < 1e-12
    assert gpu.launches


def test_arrays_in_two_places_are_refused(gpu: FakeCupy) -> None:
    X, y = np.eye(3), np.arange(3.0)
    with pytest.raises(st.InputError, match="y: X is on a GPU and y in main memory; bring both to one place"):
        st.descend(Array(X), y)
    with pytest.raises(st.InputError, match="y: X is in main memory and y on a GPU"):
        st.descend(X, Array(y), backend="cupy")
    with pytest.raises(st.InputError, match=r"eval_set: y: X is on a GPU"):
        st.descend(Array(X), Array(y), eval_set=(Array(X), y))
    with pytest.raises(
        st.InputError, match=r"X: expected float32, float64, float16 or bfloat16 on a GPU, .*; got int64"
    ):
        st.descend(Array(np.eye(3, dtype=np.int64)), Array(y))
    assert not gpu.launches


@pytest.mark.parametrize("backend", ["rust", "numpy"])
def test_other_backends_refuse_the_gpu(gpu: FakeCupy, backend: str) -> None:
    X, y = Array(np.eye(3)), np.arange(3.0)
    with pytest.raises(
        st.InputError, match=f"X: it is in the memory of a GPU, and backend='{backend}' reads main memory"
    ):
        st.descend(X, y, backend=backend)
    with pytest.raises(st.InputError, match="y: it is in the memory of a GPU"):
        st.loss_and_gradient(np.eye(3), Array(y), np.zeros(3), backend=backend)
    assert not gpu.launches


def test_a_cell_that_is_not_finite_is_named(gpu: FakeCupy) -> None:
    X = np.ones((50, 3))
    X[33, 1] = np.nan
    with pytest.raises(st.InputError, match=r"X\[33, 1\]"):
        st.descend(Array(X), Array(np.ones(50)))
    assert gpu.used


# ---- auto


def test_auto_goes_where_it_pays(gpu: FakeCupy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps or little data stay here; so does what a GPU cannot do."""

    def worth(n: int, steps: int, **options: Any) -> bool:
        X = np.broadcast_to(np.float32(1), (n, 64))
        posed = make_problem(np.empty((2, 64), np.float32), [0.0, 1.0], loss="mse", alpha=0.0, fit_intercept=True)
        object.__setattr__(posed, "design", X)
        return worth_a_gpu(posed, replace(plan_of(*PLANS["constant"]), n_steps=steps, **options))

    assert worth(4_000_000, 1000)
    assert not worth(4_000_000, 10)
    assert not worth(10_000, 1000)
    # Moments need a few readings however many steps there are.
    assert not worth(4_000_000, 1000, strategy="gram")
    # A step of a mini-batch reads its share, however few rows it has launches take their time.
    assert not worth(4_000_000, 1000, method=st.StochasticGradientDescent(batch_size=4000))
    assert worth(4_000_000, 100_000, method=st.Adam(batch_size=400_000))
    assert not worth(4_000_000, 10_000_000, method=st.StochasticGradientDescent(batch_size=256))
    X, y = np.eye(3), np.arange(3.0)
    assert st.descend(X, y, n_steps=2).backend == "rust"
    monkeypatch.setattr("steepest.setup.worth_a_gpu", lambda *_: True)
    assert st.descend(X, y, n_steps=2).backend == "cupy"
    gpu.cuda.runtime.n_devices = 0
    assert st.descend(X, y, n_steps=2).backend == "rust"


def test_gpu_says_what_it_is(gpu: FakeCupy, capsys: pytest.CaptureFixture[str]) -> None:
    st.show_backends()
    expected = "cupy   ready: CuPy 14.2.0, Imaginary GPU, 8 GiB, compute capability 9.0, driver CUDA 13.0"
    assert expected in capsys.readouterr().out.splitlines()
    assert get_backend("cupy").name == "cupy"
    assert not gpu.launches


def test_every_case_of_the_portable_tests_runs(gpu: FakeCupy) -> None:
    """Weights, several targets, probabilities: by the loop that the strict namespace runs."""
    for kind in CASES:
        posed = problem(kind, np.float64)
        start = np.zeros(posed.n_parameters)
        found, expected = (
            backend.minimise(posed, None, plan_of(*PLANS["auto"]), start, {}, None)
            for backend in (get_backend("cupy"), get_backend("numpy"))
        )
        assert np.abs(found.parameters - expected.parameters).max() <= 1e-10
    assert gpu.used
