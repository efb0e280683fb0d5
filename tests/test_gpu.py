"""What every backend promises, of the one on a GPU: on an imaginary one everywhere, on a real one if there is one."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis.strategies as hst
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings

import cuda_cases
import steepest as st
from cuda_scores import SCORE_CASES, ScoreCase, check_scores
from fake_gpu import COMPILER, FakeCupy
from properties import (
    backends_agree,
    curvature_is_the_spectrums,
    descends,
    descends_with_prox,
    matches_definition,
    parts_make_the_whole,
    penalty_spares_the_intercept,
    preconditioning_changes_no_optimum,
    same,
    steps_are_literal,
    weights_are_relative,
    weights_are_repetitions,
)
from samples import Sample
from steepest.backends import get_backend, resident
from steepest.backends.kernels import FusedPass
from strategies import KINDS, LeastSquares, problems, samples
from tolerance import tolerance

every_kind = pytest.mark.parametrize("kind", KINDS)
some = settings(max_examples=10)


@pytest.fixture(scope="module", params=["imaginary", pytest.param("real", marks=pytest.mark.gpu)])
def backend(request: pytest.FixtureRequest, shim_folder: Path) -> Iterator[str]:
    """The backend by its name, with a GPU to run on."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "real":
            try:
                get_backend("cupy")
            except st.BackendUnavailableError as error:
                pytest.skip(str(error))
        elif COMPILER is None:
            pytest.skip("g++ is not installed: kernels cannot be compiled for the CPU")
        else:
            fake = FakeCupy(shim_folder)
            fake.bundle = [*cuda_cases.usual_kernels()]
            patch.setitem(sys.modules, "cupy", fake)
            # The order of threads is not the question here: a CPU runs one after the other.
            patch.setattr(resident, "BLOCK_THREADS", 64)
        yield "cupy"


@every_kind
@some
@given(data=hst.data())
def test_definition(backend: str, kind: str, data: hst.DataObject) -> None:
    dtype, order = data.draw(hst.sampled_from([np.float32, np.float64])), data.draw(hst.sampled_from("CF"))
    sample = data.draw(samples(kind)).cast(dtype, order)
    matches_definition(backend, sample)
    for other in ("rust", "numpy"):
        near, far = sample.evaluate(backend), sample.evaluate(other)
        slack = tolerance(dtype, 10 * sample.terms)
        assert near.value == pytest.approx(far.value, rel=slack, abs=1e4 * slack)


@every_kind
@some
@given(data=hst.data())
def test_laws_of_a_weighted_average(backend: str, kind: str, data: hst.DataObject) -> None:
    sample = data.draw(samples(kind, exact=True, weighted=True))
    weights_are_repetitions(backend, sample.cast(data.draw(hst.sampled_from([np.float32, np.float64]))))
    weights_are_relative(backend, sample, data.draw(hst.sampled_from([0.125, 4.0, 3.0, 0.1])))
    same(backend, sample.but(weights=None), sample.but(weights=np.ones(len(sample.y))), exact=True)
    order = np.array(data.draw(hst.permutations(range(len(sample.y)))))
    same(backend, sample, sample.rows(order), exact=sample.is_exact)
    penalty_spares_the_intercept(backend, sample)
    if len(sample.y) > 1:
        parts_make_the_whole(backend, sample, data.draw(hst.integers(1, len(sample.y) - 1)))


@some
@given(samples(max_rows=10))
def test_steps(backend: str, sample: Sample) -> None:
    descends(backend, sample)
    descends_with_prox(backend, sample)
    steps_are_literal(backend, sample)


@settings(max_examples=3)
@given(hst.sampled_from(["mse", "huber", "squared_hinge"]).flatmap(lambda kind: samples(kind, max_rows=6)))
def test_preconditioning(backend: str, sample: Sample) -> None:
    preconditioning_changes_no_optimum(backend, sample)


@some
@given(problems(max_rows=20, max_columns=6, max_cond=100), hst.sampled_from([np.float32, np.float64]))
def test_curvature(backend: str, problem: LeastSquares, dtype: Any) -> None:
    curvature_is_the_spectrums(backend, problem, dtype, 0.5)


@some
@given(problems(max_cond=100))
def test_closed_form(backend: str, problem: LeastSquares) -> None:
    """By Newton's method from the moments and from the rows, and by gradients: the solution of least squares."""
    X, y, singular_values = problem
    expected = np.linalg.lstsq(X, y)[0]
    condition = float(singular_values[0] / singular_values[-1])
    slack = tolerance(np.float64, sum(X.shape), condition**2) * (1 + float(np.abs(y).max()))
    options: dict[str, Any] = {"fit_intercept": False, "backend": backend}
    for strategy in ("gram", "stream"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", st.ConvergenceWarning)
            fit = st.descend(X, y, method="newton", n_steps=5, strategy=strategy, **options)
        assert np.abs(fit.coef - expected).max() <= slack


@every_kind
@pytest.mark.parametrize("method", ["gd", "momentum", "nesterov", "adam", "sgd"])
def test_first_steps(backend: str, kind: str, method: str) -> None:
    backends_agree(kind, method, ("rust", backend))


@every_kind
@pytest.mark.parametrize("method", ["lbfgs", "newton"])
def test_first_searches(backend: str, kind: str, method: str) -> None:
    options: dict[str, Any] = {"l1_ratio": 0.0, "learning_rate": "auto", "n_steps": 3, "strategy": "stream"}
    backends_agree(kind, method, ("numpy", backend), **options)


def test_same_bytes_every_time(backend: str) -> None:
    """Ten descents, one as the other; and one pass with any number of blocks."""
    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(1100, 32)).astype(np.float32), generator.integers(0, 2, 1100)
    options: dict[str, Any] = {"loss": "log_loss", "learning_rate": 0.1, "n_steps": 3, "backend": backend}
    assert len({st.descend(X, y, **options).parameters.tobytes() for _ in range(10)}) == 1
    xp = get_backend(backend).xp  # type: ignore[attr-defined]
    problem = Sample("log_loss", X, y, np.zeros(32), 0.0, n_classes=2).problem()
    parameters, rows = xp.asarray(np.linspace(-1, 1, 33)), (xp.asarray(problem.targets), None, None)
    found = set()
    for blocks in (1, 2, 3):
        fused = FusedPass(xp, problem.loss, xp.asarray(X), rows, 1)
        fused.grid = (blocks,)
        found.add(fused(parameters).get().tobytes())
    assert len(found) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("case", cuda_cases.CASES, ids=str)
def test_kernels_on_a_real_gpu(case: cuda_cases.Case) -> None:
    """The cases of the CPU, where threads run at once."""
    try:
        xp = get_backend("cupy").xp  # type: ignore[attr-defined]
    except st.BackendUnavailableError as error:
        pytest.skip(str(error))
    if case.layout in {"strided", "unaligned"}:
        pytest.skip("what is copied to a GPU is contiguous and aligned there")
    cuda_cases.check_real(xp, case)


@pytest.mark.gpu
@pytest.mark.parametrize("case", SCORE_CASES, ids=str)
def test_scores_on_a_real_gpu(case: ScoreCase) -> None:
    try:
        xp = get_backend("cupy").xp  # type: ignore[attr-defined]
    except st.BackendUnavailableError as error:
        pytest.skip(str(error))
    check_scores(xp, case)


@pytest.mark.gpu
@pytest.mark.parametrize("method", ["nesterov", "sgd"])
def test_sparse_rows_of_a_real_gpu(method: str) -> None:
    """A matrix of CuPy's own, in place: as it comes, and with every entry in two halves."""
    try:
        xp = get_backend("cupy").xp  # type: ignore[attr-defined]
    except st.BackendUnavailableError as error:
        pytest.skip(str(error))
    foreign = importlib.import_module("cupyx.scipy.sparse")
    X = scipy.sparse.random_array((300, 40), density=0.1, rng=np.random.default_rng(0), format="csr")
    y = np.random.default_rng(1).normal(size=300)
    halves = scipy.sparse.csr_matrix((np.repeat(X.data / 2, 2), np.repeat(X.indices, 2), X.indptr * 2), X.shape)
    options: dict[str, Any] = {"n_steps": 20, "alpha": 0.1, "method": method, "strategy": "stream"}
    expected = st.descend(X, y, backend="numpy", **options)
    for matrix in (scipy.sparse.csr_matrix(X), halves):
        fit = st.descend(foreign.csr_matrix(matrix), xp.asarray(y), **options)
        assert fit.backend == "cupy"
        assert np.abs(fit.coef.get() - expected.coef).max() <= tolerance(np.float64, 4000)  # type: ignore[attr-defined]
