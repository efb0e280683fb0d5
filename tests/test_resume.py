"""k steps and then m are k + m steps, bit for bit, whatever is remembered; `iterate` is `descend`, looked into."""

from __future__ import annotations

import warnings
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

import steepest as st
from steepest.methods import METHODS
from steepest.step_sizes import SCHEDULES, SEARCHES

# A few steps of momentum, of mini-batches or of a search that is not monotone need not descend.
pytestmark = pytest.mark.filterwarnings("ignore:the loss rose:steepest.ConvergenceWarning")

GENERATOR = np.random.default_rng(7)
#: Rows make seven batches of five and one of three; columns are off centre and of different scales.
N, D, BATCH = 38, 3, 5
X = GENERATOR.normal(size=(N, D)) * [0.5, 1.0, 2.0] + [1.0, 0.0, -1.0]
SCORES = X @ [1.0, -0.5, 0.25] + 0.5 * GENERATOR.normal(size=N)
TARGETS: dict[str, NDArray[Any]] = {
    "mse": SCORES,
    "poisson": np.round(np.exp(SCORES)),
    "softmax": np.digitize(SCORES, [0.0, 1.0]),
}
WEIGHTS = GENERATOR.uniform(0.5, 2.0, N)

SIZES: dict[str, Any] = {
    "auto": "auto",
    "constant": 0.02,
    "inverse scaling": st.InverseScaling(0.05, 0.5),
    "exponential": st.Exponential(0.05, 0.9),
    "cosine": st.Cosine(0.05, n_steps=9),
}
SEARCHED: dict[str, Any] = {"armijo": st.Armijo(), "barzilai borwein": st.BarzilaiBorwein(memory=3)}
VARIANTS: dict[str, Any] = {
    "gd": st.GradientDescent(),
    "momentum": st.Momentum(0.7),
    "nesterov": st.Nesterov(),
    "adam": st.Adam(),
    "adam with batches": st.Adam(batch_size=BATCH),
    "sgd": st.StochasticGradientDescent(0.5, batch_size=BATCH),
    "sgd with replacement": st.StochasticGradientDescent(batch_size=4, replacement=True),
    "lbfgs": st.Lbfgs(memory=3),
    "newton": st.Newton(),
    "coordinate": st.CoordinateDescent(),
}
PENALTIES = {"l2": (0.05, 0.0), "elastic net": (0.05, 0.5)}


class Recipe(NamedTuple):
    """A method, a rule for its step sizes and a penalty that go together."""

    method: str
    size: str
    penalty: str

    @property
    def options(self) -> dict[str, Any]:
        """What `descend` is told."""
        method, (alpha, l1_ratio) = VARIANTS[self.method], PENALTIES[self.penalty]
        size = (SIZES | SEARCHED)[self.size]
        return {"method": method, "learning_rate": size, "alpha": alpha, "l1_ratio": l1_ratio, "random_state": 3}

    @property
    def in_batches(self) -> bool:
        """Whether history has one entry an epoch."""
        return bool(getattr(VARIANTS[self.method], "batch_size", None))


def sizes_for(name: str) -> list[str]:
    if not VARIANTS[name].takes_learning_rate:
        return ["auto"]
    return [*SIZES, *SEARCHED] if name == "gd" else [*SIZES]


RECIPES = [
    Recipe(name, size, penalty)
    for name, penalty in product(VARIANTS, PENALTIES)
    for size in sizes_for(name)
    if penalty == "l2" or VARIANTS[name].takes_l1
]

#: Coordinate descent has nothing to remember, and takes squared errors alone.
REMEMBERING = [recipe for recipe in RECIPES if not VARIANTS[recipe.method].needs_statistics]

every_recipe = pytest.mark.parametrize("recipe", RECIPES, ids="-".join)
every_loss = pytest.mark.parametrize("loss", TARGETS)
either_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
either_scale = pytest.mark.parametrize("precondition", [False, True])


def run(backend: str, loss: str, dtype: Any = np.float64, **options: Any) -> st.Fit:
    name = "log_loss" if loss == "softmax" else loss
    return st.descend(X.astype(dtype), TARGETS[loss], loss=name, sample_weight=WEIGHTS, backend=backend, **options)


def end(fit: st.Fit) -> list[bytes]:
    """What two descents have in common that ended at the same point with the same memory."""
    parts = [fit.coef, fit.intercept, fit.parameters, fit.loss, fit.gradient_norm]
    parts += [fit.state[name] for name in sorted(fit.state)]
    return [np.asarray(part).tobytes() for part in parts]


def way(*fits: st.Fit) -> list[bytes]:
    """What two descents have in common that went the same way, in one piece or in several."""
    names = ("loss", "gradient_norm", "step_size")
    return [np.concatenate([getattr(fit.history, name) for fit in fits]).tobytes() for name in names]


def test_every_method_and_rule_is_here() -> None:
    assert {variant.name for variant in VARIANTS.values()} == set(METHODS)
    described = {type(size) for size in (SIZES | SEARCHED).values()}
    assert described >= {*SCHEDULES, *SEARCHES} - {st.Constant}


@every_recipe
@every_loss
@either_dtype
@either_scale
def test_a_descent_goes_on_as_if_it_had_never_stopped(
    backend: str, recipe: Recipe, loss: str, dtype: Any, *, precondition: bool
) -> None:
    if VARIANTS[recipe.method].needs_statistics and loss != "mse":
        return
    options = recipe.options | {"precondition": precondition}
    pieces: list[st.Fit] = []
    # No piece ends with an epoch, and one is no step at all.
    for n_steps in (3, 1, 0, 6):
        start = pieces[-1] if pieces else None
        pieces.append(run(backend, loss, dtype, n_steps=n_steps, start=start, **options))
    whole = run(backend, loss, dtype, n_steps=10, **options)
    assert whole.n_steps == sum(piece.n_steps for piece in pieces)
    assert end(pieces[-1]) == end(whole)
    if recipe.in_batches:
        # The end of each piece is one evaluation more.
        assert set(whole.history.loss) <= {loss for piece in pieces for loss in piece.history.loss}
    else:
        assert way(*pieces) == way(whole)


@every_recipe
@every_loss
def test_the_way_is_one_that_matters(backend: str, recipe: Recipe, loss: str) -> None:
    """No descent above is at its end before it is resumed; what a method forgot would show."""
    if VARIANTS[recipe.method].needs_statistics:
        # It has nothing to forget.
        return
    fit = run(backend, loss, n_steps=4, **recipe.options)
    if (recipe.method, loss) != ("newton", "mse"):
        assert fit.n_steps == 4
        assert fit.gradient_norm > 1e-9
        assert fit.loss < fit.history.loss[0]


@pytest.mark.parametrize("method", ["momentum", "nesterov", "adam", "adam with batches", "sgd", "lbfgs"])
def test_memory_matters(backend: str, method: str) -> None:
    """From the same parameters without it the next steps are others."""
    options = Recipe(method, "auto", "l2").options
    first = run(backend, "poisson", n_steps=3, **options)
    on, anew = (
        run(backend, "poisson", n_steps=3, start=start, **options) for start in (first, (first.coef, first.intercept))
    )
    assert on.history.loss[0] == anew.history.loss[0]
    assert on.coef.tobytes() != anew.coef.tobytes()


@every_recipe
@either_scale
def test_iterate_is_descend_looked_into(backend: str, recipe: Recipe, *, precondition: bool) -> None:
    if VARIANTS[recipe.method].needs_statistics:
        # `test_iterate_is_descend_step_by_step` has it, on squared errors.
        return
    options = recipe.options | {"sample_weight": WEIGHTS, "precondition": precondition, "backend": backend}
    steps = list(st.iterate(X, TARGETS["softmax"], loss="log_loss", n_steps=6, **options))
    assert [step.step for step in steps] == list(range(7))
    assert np.isnan(steps[0].step_size)
    for step in steps:
        fit = st.descend(X, TARGETS["softmax"], loss="log_loss", n_steps=step.step, **options)
        assert fit.n_steps == step.step
        assert step.coef.tobytes() == fit.coef.tobytes()
        assert step.intercept.tobytes() == fit.intercept.tobytes()
        assert (step.loss, step.gradient_norm) == (fit.loss, fit.gradient_norm)
        if step.step and not recipe.in_batches:
            assert step.step_size == fit.history.step_size[-1]


@pytest.mark.parametrize("method", [name for name in [*METHODS, "auto"] if name != "coordinate"])
def test_iterate_takes_the_names_too(backend: str, method: str) -> None:
    steps = list(st.iterate(X, TARGETS["poisson"], loss="poisson", method=method, n_steps=3, backend=backend))
    fit = run_plain(backend, method, n_steps=3)
    assert len(steps) == 4
    assert steps[-1].coef.tobytes() == fit.coef.tobytes()
    assert steps[-1].loss == fit.loss


def run_plain(backend: str, method: str, **options: Any) -> st.Fit:
    return st.descend(X, TARGETS["poisson"], loss="poisson", method=method, backend=backend, **options)


@pytest.mark.parametrize("method", ["gd", "nesterov", "lbfgs", "newton"])
def test_iterate_ends_with_the_tolerance(backend: str, method: str) -> None:
    options: dict[str, Any] = {"tol": 1e-3, "n_steps": 5000}
    fit = run_plain(backend, method, **options)
    steps = list(st.iterate(X, TARGETS["poisson"], loss="poisson", method=method, backend=backend, **options))
    assert fit.converged
    assert steps[-1].step == fit.n_steps
    assert steps[-1].coef.tobytes() == fit.coef.tobytes()


def test_iterate_goes_on_where_a_fit_ended(backend: str) -> None:
    options = Recipe("nesterov", "auto", "elastic net").options | {"backend": backend}
    first = st.descend(X, SCORES, n_steps=3, **options)
    whole = st.descend(X, SCORES, n_steps=8, **options)
    *_, last = st.iterate(X, SCORES, n_steps=5, start=first, **options)
    assert last.coef.tobytes() == whole.coef.tobytes()
    assert last.loss == whole.loss


def test_iterate_asks_for_its_own_options() -> None:
    for name in ("max_seconds", "eval_set", "validation_fraction", "patience", "target_loss", "callback", "shape"):
        with pytest.raises(st.InputError, match=f"iterate: '{name}' is not one of its options: .*alpha.*tol"):
            st.iterate(X, SCORES, **{name: 1})
    # Arguments are checked when they are given, not when the first step is asked for.
    with pytest.raises(st.InputError, match="alpha"):
        st.iterate(X, SCORES, alpha=-1.0)
    assert [step.step for step in st.iterate(X, SCORES, n_steps=0)] == [0]


OTHERS: dict[str, dict[str, Any]] = {
    "alpha": {"alpha": 0.3},
    "l1_ratio": {"l1_ratio": 0.2},
    "method": {"method": "momentum"},
    "settings": {"method": st.Adam(beta1=0.5)},
    "learning_rate": {"learning_rate": 0.01},
    "precondition": {"precondition": True},
    "random_state": {"random_state": 4},
}


@pytest.mark.parametrize("method", ["nesterov", "adam", "sgd"])
@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
def test_start_of_another_recipe_is_a_place_and_no_more(backend: str, method: str, changes: dict[str, Any]) -> None:
    """It begins at the loss that the coefficients have by the new recipe, and as if given as a pair."""
    options = Recipe(method, "auto", "elastic net").options | {"precondition": False}
    first = run(backend, "poisson", n_steps=4, **options)
    changed = options | changes
    warm, pair = (
        run(backend, "poisson", n_steps=5, start=start, **changed) for start in (first, (first.coef, first.intercept))
    )
    assert end(warm) == end(pair)
    value, _, _ = st.loss_and_gradient(
        X,
        TARGETS["poisson"],
        first.coef,
        first.intercept,
        loss="poisson",
        alpha=changed["alpha"],
        l1_ratio=changed["l1_ratio"],
        sample_weight=WEIGHTS,
        backend=backend,
    )
    # A change of variables and back is a rounding or two.
    assert warm.history.loss[0] == pytest.approx(value, rel=1e-13)


@pytest.mark.parametrize("name", [name for name, kind in VARIANTS.items() if not kind.needs_statistics])
def test_memory_is_the_same_on_both_backends(name: str) -> None:
    """What one has begun the other goes on with, to rounding."""
    options = Recipe(name, "auto", "l2").options
    whole = run("numpy", "poisson", n_steps=7, **options)
    for one, other in (("rust", "numpy"), ("numpy", "rust")):
        first = run(one, "poisson", n_steps=3, **options)
        second = run(other, "poisson", n_steps=4, start=first, **options)
        assert set(second.state) == set(whole.state)
        assert second.coef == pytest.approx(whole.coef, rel=1e-7)
        assert second.loss == pytest.approx(whole.loss, rel=1e-9)


def test_start_is_not_written_to(backend: str) -> None:
    for name in VARIANTS:
        options = Recipe(name, "auto", "l2").options
        first = run(backend, "mse", n_steps=3, **options)
        before = end(first)
        run(backend, "mse", n_steps=3, start=first, **options)
        assert end(first) == before


@pytest.mark.parametrize("method", ["momentum", "adam", "sgd"])
def test_steps_that_rise_are_no_reason_to_warn(backend: str, method: str) -> None:
    """With "auto" there is no size to blame, and no method of these descends at every step."""
    options: dict[str, Any] = {"loss": "poisson", "method": method, "backend": backend}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        losses = [step.loss for step in st.iterate(X, TARGETS["poisson"], n_steps=60, **options)]
        first = st.descend(X, TARGETS["poisson"], n_steps=3, **options)
        st.descend(X, TARGETS["poisson"], n_steps=1, start=first, **options)
    assert np.any(np.diff(losses) > 0)
