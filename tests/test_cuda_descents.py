"""Descents that stay on the GPU: the steps of the portable loop, ended where they should, looked at seldom."""

from __future__ import annotations

import itertools
import time
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import steepest as st
from cuda_cases import usual_kernels
from cuda_descents import (
    BLOCK_ROWS,
    FEW_WAYS,
    WAYS,
    Way,
    bits,
    by_the_host,
    check_descent,
    compare,
    on_gpu,
    plan_of,
    reference,
)
from fake_gpu import Array, FakeCupy, HostReadError, Memory, Reads, Stream, needs_compiler
from steepest.backends import cupy as cupy_backend
from steepest.backends import device, get_backend, kernels, loop, resident
from steepest.backends.kernels import FORMULAS, RULES
from steepest.errors import DivergenceError
from steepest.problem import Plan, Solution
from steepest.step_sizes import Constant
from steepest.updates import AcceleratedUpdate, GradientUpdate, HeavyBallUpdate
from strategies import example

pytestmark = needs_compiler
MAKERS = ("grid", "block", "products", "moments")
#: Methods whose steps are tried if nobody says how long they are.
TRIED = ("gd", "momentum", "nesterov")
LOSSES = ("mse", "binary", "huber", "poisson", "squared_hinge")


@pytest.fixture(autouse=True)
def _no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many steps are made before a look must not depend on how busy this machine is."""
    monkeypatch.setattr(loop, "MOST_SECONDS_AHEAD", np.inf)


@pytest.fixture
def _few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the order of threads is not the question: a CPU runs one after the other."""
    monkeypatch.setattr(resident, "BLOCK_THREADS", 64)
    monkeypatch.setattr(resident, "FOLD_THREADS", 64)


@pytest.fixture(scope="module")
def fake(shim_folder: Path) -> FakeCupy:
    fake = FakeCupy(shim_folder)
    fake.bundle = [*usual_kernels()]
    return fake


@pytest.mark.parametrize(
    "way", WAYS, ids=lambda way: f"{way.maker}-{way.method}-{way.kind}-{way.dtype}-{way.n}x{way.d}"
)
def test_descent_is_the_portable_one_in_any_order_of_threads(fake: FakeCupy, way: Way) -> None:
    check_descent(fake, way)


def test_ways_are_of_every_method_loss_and_maker() -> None:
    assert {(way.maker, way.method) for way in WAYS} >= set(itertools.product(MAKERS, RULES))
    assert {way.kind for way in WAYS if way.maker == "block"} == set(LOSSES)
    assert len(LOSSES) == len(FORMULAS)
    # Where numbers grow, a mistake would drown in what rounding may do to them.
    for way in (*WAYS, *itertools.chain(*FEW_WAYS.values())):
        expected = reference(way, plan_of(way))
        assert expected.loss < 1.1 * expected.history["loss"][0], way
    assert {way.dtype for way in WAYS if way.maker != "moments"} == {"float32", "float64"}
    tried = [way for way in WAYS if way.understated]
    assert {(way.maker.replace("folds", "grid"), way.method) for way in tried} == set(itertools.product(MAKERS, TRIED))
    # Steps are too long, and carry on too much, or nothing of what follows would be seen.
    few = [*FEW_WAYS["momentum"], *FEW_WAYS["nesterov"]]
    found = {way: refusals(way) for way in (*tried, *few)}
    assert all(found[way][False] for way in tried)
    assert {way.method for way in tried if found[way][True]} == {"momentum", "nesterov"}
    assert all(found[way][True] and found[way][False] for way in few)


def refusals(way: Way) -> Counter[bool]:
    """Return how many steps of the portable loop were not good enough, by whether they carried something on."""
    found: Counter[bool] = Counter()
    with pytest.MonkeyPatch.context() as patch:
        for update in (GradientUpdate, HeavyBallUpdate, AcceleratedUpdate):

            def rest(self: Any, xp: Any, point: Any, rest: Any = update.rest) -> bool:
                carried: bool = rest(self, xp, point)
                found[carried] += 1
                return carried

            patch.setattr(update, "rest", rest)
        reference(way, plan_of(way))
    return found


@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("kind", "n_classes"), [("two targets", 0), ("probabilities", 0), ("softmax", 9)])
def test_products_are_those_of_the_host(  # noqa: PLR0917
    fake: FakeCupy, kind: str, n_classes: int, dtype: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, by blocks of rows: where nothing else is added up, steps are those of the host's loop."""
    monkeypatch.setattr(device, "rows_of", lambda *_: BLOCK_ROWS)
    way = Way("products", method, kind, dtype, n=1100, n_classes=n_classes, understated=12 * (method in TRIED))
    found, expected = (descended(fake, way, plan_of(way)) for descended in (on_gpu, by_the_host))
    assert (found.status, found.n_steps, found.loss) == (expected.status, expected.n_steps, expected.loss)
    assert found.parameters.tobytes() == expected.parameters.tobytes()
    for name in ("step", "loss", "step_size"):
        assert found.history[name].tobytes() == expected.history[name].tobytes(), name
    np.testing.assert_allclose(found.history["gradient_norm"], expected.history["gradient_norm"], rtol=1e-14)


@pytest.mark.usefixtures("_few_threads")
@pytest.mark.parametrize("kind", [*LOSSES, "softmax", "two targets", "probabilities"])
@pytest.mark.parametrize("method", TRIED)
@pytest.mark.parametrize("l1_ratio", [None, 0.0, 0.5])
def test_tried_steps_are_those_of_the_loop(fake: FakeCupy, kind: str, method: str, l1_ratio: float | None) -> None:
    """Every loss, penalty and method: the points, the history, what is remembered; and going on is having gone on."""
    penalty: dict[str, Any] = {} if l1_ratio is None else {"penalised": True, "l1_ratio": l1_ratio}
    maker = "products" if kind in {"two targets", "probabilities"} else "grid"
    way = Way(maker, method, kind, n=40, d=2, understated=3, **penalty)
    compare(way, goes_on(fake, way, 9, 4), reference(way, plan_of(way, 9)))


@pytest.mark.usefixtures("_few_threads")
@pytest.mark.parametrize(
    ("maker", "method"),
    [
        ("grid", "momentum"),
        ("block", "nesterov"),
        ("products", "nesterov"),
        ("moments", "momentum"),
        ("moments", "nesterov"),
    ],
)
def test_tried_steps_end_where_the_loop_does(
    fake: FakeCupy, maker: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However seldom somebody looks, and also where no step is good enough."""
    n, d = (20, 5) if maker == "products" else (40, 3)
    way = Way(maker, method, kind_by(maker), n=n, d=d, penalised=True, understated=5)
    plan = plan_of(way, 12)
    full, first = reference(way, plan).history, reference(way, replace(plan, n_steps=1))
    target, tol = float(full["loss"][6] + full["loss"][7]) / 2, float(full["gradient_norm"][:9].min() * 1.01)
    endings: list[tuple[str, int, Way, Plan, Any]] = [
        ("max_steps", 100, way, plan, None),
        ("max_steps", 100, way, replace(plan, n_steps=0), None),
        ("max_steps", 100, way, replace(plan, n_steps=0), first),
        ("target_loss", 100, way, replace(plan, target_loss=target), None),
        ("converged", 100, way, replace(plan, tol=tol / float(full["gradient_norm"][0])), None),
        # At once, and where what was carried on is too much.
        ("stalled", 100, way._replace(understated=1e40), plan, None),
        ("stalled", 1, way, plan, first),
    ]
    for status, halvings, tried, ending, former in endings:
        monkeypatch.setattr(loop, "MOST_HALVINGS", halvings)
        found = []
        for graph_steps, growth, at_first in ((3, 2, 5), (1000, 1, 1)):
            monkeypatch.setattr(resident, "GRAPH_STEPS", graph_steps)
            monkeypatch.setattr(resident, "GROWTH", growth)
            for kind in (resident.ByGrid, resident.ByBlock, resident.ByMoments):
                monkeypatch.setattr(kind, "most_at_first", at_first)
            found.append(on_gpu(fake, tried, ending, None if former is None else former.state))
        assert found[0].status == status
        assert len(set(map(bits, found))) == 1, ending
        compare(tried, found[0], reference(tried, ending, former))
    assert found[0].n_steps > 0


@pytest.mark.usefixtures("_few_threads")
@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("method", ["momentum", "nesterov", "adam"])
def test_looking_seldom_changes_nothing(
    fake: FakeCupy, maker: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a bit of the parameters, the history, and what is remembered, wherever and however the descent ends."""
    way = Way(maker, method, kind_by(maker), n=40, d=2, penalised=True)
    plan = plan_of(way, 40)
    full = reference(way, plan).history
    norms = full["gradient_norm"]
    endings = [
        plan,
        replace(plan, n_steps=0),
        replace(plan, n_steps=32),
        replace(plan, target_loss=float(full["loss"][20] + full["loss"][21]) / 2),
        replace(plan, tol=float(norms[:30].min() * 1.01 / norms[0])),
        replace(plan, step_size=Constant(1e9)),
    ]
    for ending in endings:
        found = []
        for graph_steps, growth, first in ((32, 8, 1), (3, 2, 5), (1000, 1, 7)):
            monkeypatch.setattr(resident, "GRAPH_STEPS", graph_steps)
            monkeypatch.setattr(resident, "GROWTH", growth)
            for kind in (resident.ByGrid, resident.ByBlock, resident.ByMoments):
                monkeypatch.setattr(kind, "most_at_first", first)
            found.append(on_gpu(fake, way, ending))
        assert len(set(map(bits, found))) == 1, ending
        if found[0].status == "diverged":
            # How far beyond all numbers is rounding's choice; where they end is not.
            assert not np.isfinite([found[0].loss, found[0].gradient_norm]).all()
            assert np.isfinite(found[0].history["loss"]).all()
        else:
            compare(way, found[0], reference(way, ending))
    assert {end.status for end in found} == {"diverged"} or method == "adam"


@pytest.mark.usefixtures("_few_threads")
@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("method", RULES)
def test_going_on_is_having_gone_on(fake: FakeCupy, maker: str, method: str) -> None:
    """Bit for bit: the schedule and the memory are those of the step where it stopped."""
    goes_on(fake, Way(maker, method, kind_by(maker), n=40, d=2, penalised=True), 20, 9)


def kind_by(maker: str) -> str:
    """Return squared errors as a maker has them."""
    return "two targets" if maker == "products" else "mse"


def goes_on(fake: FakeCupy, way: Way, n_steps: int, first: int) -> Solution:
    """Assert that some steps and then the rest are all of them, and return these."""
    plan = plan_of(way, n_steps)
    whole, half = (on_gpu(fake, way, replace(plan, n_steps=n)) for n in (n_steps, first))
    rest = on_gpu(fake, way, replace(plan, n_steps=n_steps - first), half.state)
    assert rest.parameters.tobytes() == whole.parameters.tobytes()
    assert rest.loss == whole.loss
    for name, values in whole.history.items():
        if name not in {"seconds", "step"}:
            assert np.append(half.history[name], rest.history[name]).tobytes() == values.tobytes(), name
    assert {name: part.tobytes() for name, part in rest.state.items()} == {
        name: part.tobytes() for name, part in whole.state.items()
    }
    return whole


def descend(n: int, n_steps: int, d: int = 3, kind: str = "binary", **options: Any) -> st.Fit:
    sample = example(kind, n=n, d=d)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", st.ConvergenceWarning)
        arguments: dict[str, Any] = {"loss": sample.loss, "n_steps": n_steps, "backend": "cupy", **options}
        return st.descend(sample.X, sample.y, strategy="stream", **arguments)


def test_launches_of_a_step(gpu: FakeCupy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two, three beyond 16,384 rows; by one block, or from moments, none of its own; of several scores always two.

    Beside them, of many scores, there are two products and two copies or additions for every block of rows.
    """
    options: dict[str, Any] = {"learning_rate": 0.01, "tol": 0.0}
    descend(50, 31, **options)
    assert gpu.launches == ["ONE_BLOCK"]
    gpu.launches.clear()
    # Before the first step that is tried, some passes tell how long it is.
    descend(50, 31, method="nesterov")
    assert Counter(gpu.launches)["ONE_BLOCK"] == 1
    assert gpu.launches[-1] == "ONE_BLOCK"
    gpu.launches.clear()
    descend(50, 1, kind="softmax", **options)
    assert gpu.launches == ["FINISH", "ANY_PASS", "FINISH", "ANY_PASS", "FINISH"]
    gpu.launches.clear()
    descend(50, 1, kind="two targets", **options)
    assert gpu.launches == ["FINISH", "SCORE_PASS", "FINISH", "SCORE_PASS", "FINISH"]
    monkeypatch.setattr(resident, "BLOCK_BYTES", 0)
    for n, expected in ((50, {"ANY_PASS": 1, "FINISH": 1}), (512 * 33, {"ANY_PASS": 1, "FOLD": 1, "FINISH": 1})):
        gpu.launches.clear()
        # One step and the point that it leads to, after the setting out.
        descend(n, 1, **options)
        assert Counter(gpu.launches[1:]) == {name: 2 * count for name, count in expected.items()}
        assert gpu.launches[0] == "FINISH"
    gpu.launches.clear()
    sample = example("mse", n=60)
    st.descend(sample.X, sample.y, n_steps=31, learning_rate=0.01, strategy="gram", backend="cupy")
    assert gpu.launches == ["QUADRATIC"]


@pytest.mark.usefixtures("_few_threads")
@pytest.mark.parametrize("limit", [0, resident.BLOCK_BYTES])
@pytest.mark.parametrize(
    ("method", "rate", "loss"),
    [
        ("gd", 0.01, "binary"),
        ("nesterov", "auto", "binary"),
        ("momentum", "auto", "softmax"),
        ("gd", 0.01, "two targets"),
        ("nesterov", "auto", "probabilities"),
    ],
)
def test_making_steps_reads_and_allocates_nothing(  # noqa: PLR0917
    gpu: FakeCupy, method: str, rate: Any, loss: str, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A descent within a trap for reads is the same; a look is one read, whatever the number of steps."""
    monkeypatch.setattr(resident, "BLOCK_BYTES", limit)
    options: dict[str, Any] = {"method": method, "learning_rate": rate, "tol": 1e-9}
    free = descend(30, 70, d=2, kind=loss, **options)
    makes, counts = 0, []
    for maker in (resident.ByGrid, resident.ByBlock):
        make = maker.make

        def trapped(self: Any, count: int, make: Any = make) -> None:
            nonlocal makes
            makes += 1
            Reads.trapped = Memory.trapped = True
            try:
                make(self, count)
            finally:
                Reads.trapped = Memory.trapped = False

        monkeypatch.setattr(maker, "make", trapped)
    for n_steps in (70, 300):
        Reads.count = makes = 0
        kept = descend(30, n_steps, d=2, kind=loss, **options)
        counts.append(Reads.count - makes)
        assert makes <= 5
        assert n_steps == 300 or kept.parameters.tobytes() == free.parameters.tobytes()
    # What is read beside looks is read once a descent.
    assert counts[0] == counts[1]
    assert gpu.launches


def test_what_a_graph_cannot_hold_is_refused(fake: FakeCupy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The imaginary GPU refuses what a real one would: the tests of graphs would see it."""
    array = fake.zeros(3)
    with Stream() as stream:
        stream.begin_capture()
        asked = (lambda: fake.empty(3, np.float64), lambda: fake.sum(array), lambda: array + array)
        for forbidden in (*asked, array.get):
            with pytest.raises(AssertionError, match="while launches are recorded"):
                forbidden()
        partials, sums = fake_arrays(300)
        kernels.add_segments(fake, partials, sums)
        graph = stream.end_capture()
    assert np.isnan(sums.values).all()
    graph.launch()
    assert sums.values.tolist() == [[256.0], [44.0]]
    del partials
    with pytest.raises(AssertionError, match="was given up"):
        graph.launch()
    monkeypatch.setattr(Reads, "trapped", True)
    with pytest.raises(HostReadError):
        array.get()
    monkeypatch.setattr(Memory, "trapped", True)
    fake.add(array, array, out=fake.reshape(array, (3,)))
    for demand in (*asked, lambda: -array, lambda: array.astype(np.float32)):
        with pytest.raises(AssertionError, match="memory was asked for"):
            demand()


def fake_arrays(n_parts: int) -> tuple[Array, Array]:
    return Array(np.ones((n_parts, 1))), Array(np.full((2, 1), np.nan))


@pytest.mark.parametrize("step_seconds", [1e-6, 3e-4, 4e-3, 0.5])
def test_looks_are_soon(step_seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """No look is later than 0.1 s after the last, but for a step that takes longer; nor sooner than it must be."""
    clock, waits, made, most = 0.0, [], 0, 2 / step_seconds
    monkeypatch.setattr(loop, "MOST_SECONDS_AHEAD", 0.1)
    monkeypatch.setattr(time, "perf_counter", lambda: clock)

    class Maker:
        most_at_first = 1

        def make(self, count: int) -> None:
            nonlocal clock, made
            clock += 2e-4 + count * step_seconds
            waits.append(2e-4 + count * step_seconds)
            made += count

    def look(count: int) -> tuple[int, int, Any]:
        ended = made >= most
        return made - ended, ended, np.zeros((count, resident.FOUND))

    plan = SimpleNamespace(n_steps=10**9)
    here: Any = SimpleNamespace(began=0.0, plan=plan, begin=lambda *_: None, look=look)
    monkeypatch.setattr(resident, "_solution", lambda *_: None)
    resident.descend(here, Maker())
    assert max(waits) <= max(0.1, step_seconds) + 3e-4
    assert len(waits) < 8 + made * step_seconds / 0.01


def test_ctrl_c_is_answered_at_the_next_look(gpu: FakeCupy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident.Resident, "look", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    began = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        descend(50, 10**6, learning_rate=0.01)
    assert time.perf_counter() - began < 5
    assert gpu.launches == ["ONE_BLOCK"]


def test_what_waits_for_numbers_does_not_stay(gpu: FakeCupy) -> None:
    """Callbacks, clocks, validation, searches and mini-batches are the loop's."""
    sample = example("binary", n=60)
    asked: list[Any] = [
        {"callback": lambda _: None},
        {"max_seconds": 100.0},
        {"eval_set": (sample.X, sample.y)},
        {"learning_rate": "armijo"},
        {"learning_rate": "barzilai_borwein"},
        {"method": "sgd"},
        {"method": "lbfgs", "learning_rate": "auto"},
    ]
    for options in asked:
        descend(60, 3, **{"learning_rate": 0.01, **options})
    assert not {"ONE_BLOCK", "FINISH", "QUADRATIC"} & set(gpu.launches)


def test_products_that_do_not_stay(gpu: FakeCupy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a sparse X, of one that is brought at every pass, and of too many parameters for one block."""
    sample = example("two targets", n=60)

    def stays(X: Any) -> bool:
        gpu.launches.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", st.ConvergenceWarning)
            st.descend(X, sample.y, n_steps=3, learning_rate=0.01, strategy="stream", backend="cupy")
        assert "SCORE_PASS" in gpu.launches
        return "FINISH" in gpu.launches

    assert stays(sample.X)
    assert not stays(scipy.sparse.csr_array(sample.X))
    with monkeypatch.context() as patch:
        patch.setattr(cupy_backend.CupyBackend, "_holds", lambda *_: False)
        assert not stays(sample.X)
    monkeypatch.setattr(device, "MOST_STAYING", 8)
    assert stays(sample.X)
    monkeypatch.setattr(device, "MOST_STAYING", 7)
    assert not stays(sample.X)


def test_a_method_without_a_rule_is_the_loop_s(gpu: FakeCupy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident, "RULES", {})
    descend(60, 3, learning_rate=0.01)
    assert set(gpu.launches) == {"ANY_PASS", "FOLD"}


def test_divergence_is_named(gpu: FakeCupy) -> None:
    with pytest.raises(DivergenceError, match="step"):
        st.descend(np.eye(4), np.arange(4.0), n_steps=5000, learning_rate=1e9, strategy="stream", backend="cupy")
    assert gpu.launches


@pytest.mark.parametrize(("kind", "expected"), [("binary", {"ONE_BLOCK"}), ("two targets", {"SCORE_PASS", "FINISH"})])
def test_a_look_is_the_number_of_the_descent(gpu: FakeCupy, kind: str, expected: set[str]) -> None:
    """`loss_and_gradient` and the history are of the same kernels, with every storage and order of X."""
    sample = example(kind, n=300)
    options: dict[str, Any] = {"loss": sample.loss, "alpha": 0.3}
    for X in (sample.X, np.asfortranarray(sample.X), sample.X.astype(np.float16)):
        given: Any
        given, y = Array(X), Array(sample.y.astype(np.float32 if X.dtype == np.float16 else np.float64))
        fit = st.descend(given, y, n_steps=2, learning_rate=0.1, strategy="stream", **options)
        value, gradient, _ = st.loss_and_gradient(given, y, sample.coef, **options)
        assert value == fit.history.loss[0]
        one: Any = st.descend(given, y, n_steps=1, learning_rate=0.1, strategy="stream", **options)
        assert np.array_equal(one.coef.get(), (-0.1 * gradient.get().astype(np.float64)).astype(one.coef.dtype))
    assert set(gpu.launches) == expected


@pytest.mark.gpu
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_descents_on_a_real_gpu(way: Way) -> None:
    """The same descents, ten times, by graphs too: one as the other, to the bit."""
    try:
        xp = get_backend("cupy").xp  # type: ignore[attr-defined]
    except st.BackendUnavailableError as error:
        pytest.skip(str(error))
    for n_steps in (5, 100):
        plan: Plan = plan_of(way, n_steps)
        found = [on_gpu(xp, way, plan) for _ in range(10)]
        assert len(set(map(bits, found))) == 1
        compare(way, found[0], reference(way, plan))
