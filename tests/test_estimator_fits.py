"""What the estimators fit: the optimum that others find, by weights, in parts, warm, on several targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_linnerud
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, LogisticRegression, PoissonRegressor, Ridge
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

import steepest as st
from steepest.estimators import base
from steepest.setup import set_up

ALPHA = 0.01


def diabetes() -> tuple[NDArray[Any], NDArray[Any]]:
    X, y = load_diabetes(return_X_y=True, scaled=False)
    return X, y


def cancer() -> tuple[NDArray[Any], NDArray[Any]]:
    X, y = load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(X), y


def iris() -> tuple[NDArray[Any], NDArray[Any]]:
    X, y = load_iris(return_X_y=True)
    return X, np.array(["setosa", "versicolor", "virginica"])[y]


#: Ours divides the sum by the weight of all rows; theirs of squares are halved, too.
REGRESSORS = {
    "least squares": (st.GDRegressor(penalty=None), lambda n: LinearRegression()),  # noqa: ARG005
    "ridge": (st.GDRegressor(alpha=ALPHA), lambda n: Ridge(alpha=ALPHA * n / 2, solver="cholesky")),
    "lasso": (st.GDRegressor(penalty="l1", alpha=2.0), lambda n: Lasso(alpha=1.0)),  # noqa: ARG005
    "elastic net": (
        st.GDRegressor(penalty="elasticnet", alpha=0.2, l1_ratio=0.3),
        lambda n: ElasticNet(alpha=0.1, l1_ratio=0.3),  # noqa: ARG005
    ),
    "poisson": (
        st.GDRegressor("poisson", alpha=ALPHA),
        lambda n: PoissonRegressor(alpha=ALPHA, solver="newton-cholesky"),  # noqa: ARG005
    ),
}


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressors_find_what_others_find(name: str) -> None:
    X, y = diabetes()
    model, oracle = REGRESSORS[name][0], REGRESSORS[name][1](len(y))
    if "tol" in oracle.get_params() and name != "least squares":
        oracle.set_params(tol=1e-12, max_iter=100_000)
    oracle.fit(X, y)
    for given in (X, np.asfortranarray(X), sparse.csr_matrix(X), sparse.csc_array(X)):
        model.set_params(tol=1e-12, max_iter=20_000).fit(given, y)
        assert model.coef_ == pytest.approx(oracle.coef_, rel=1e-6)
        assert model.intercept_ == pytest.approx(oracle.intercept_, rel=1e-6)
        assert model.predict(given) == pytest.approx(oracle.predict(X), rel=1e-7)


def test_r2_is_the_score() -> None:
    X, y = diabetes()
    weights = np.linspace(0, 1, len(y))
    model, oracle = st.GDRegressor(penalty=None).fit(X, y), LinearRegression().fit(X, y)
    assert model.score(X, y, weights) == pytest.approx(oracle.score(X, y, weights))


@pytest.mark.parametrize("data", [cancer, iris])
def test_classifiers_find_what_logistic_regression_finds(data: Any) -> None:
    X, y = data()
    oracle = LogisticRegression(C=1 / (ALPHA * len(y)), tol=1e-10, solver="newton-cholesky").fit(X, y)
    for given in (X, sparse.csr_matrix(X)):
        model = st.GDClassifier(alpha=ALPHA, tol=1e-10).fit(given, y)
        assert model.classes_.tolist() == oracle.classes_.tolist()
        assert model.coef_ == pytest.approx(oracle.coef_, abs=1e-6)
        assert model.intercept_ == pytest.approx(oracle.intercept_, abs=1e-6)
        assert model.decision_function(given) == pytest.approx(oracle.decision_function(X), abs=1e-5)
        assert model.predict_proba(given) == pytest.approx(oracle.predict_proba(X), abs=1e-6)
        assert model.predict_log_proba(given) == pytest.approx(oracle.predict_log_proba(X), abs=1e-5)
        assert np.array_equal(model.predict(given), oracle.predict(X))
        assert model.score(given, y) == oracle.score(X, y)


def test_logarithms_of_probabilities_too_small_for_a_number() -> None:
    X, y = cancer()
    model = st.GDClassifier().fit(X, y)
    far = -1e4 * model.coef_
    assert model.predict_proba(far).tolist() == [[1.0, 0.0]]
    assert model.predict_log_proba(far)[0, 1] == pytest.approx(model.decision_function(far)[0])


@pytest.mark.parametrize("loss", ["huber", st.Huber(20.0)])
def test_the_loss_may_be_described(loss: Any) -> None:
    X, y = diabetes()
    model = st.GDRegressor(loss, tol=1e-8).fit(X, y)
    literal = st.descend(X, y, loss=loss, alpha=1e-4, method="auto", tol=1e-8, precondition=True)
    assert np.array_equal(model.coef_, literal.coef)
    assert model.intercept_ == literal.intercept


def test_single_precision_stays() -> None:
    X, y = cancer()
    model = st.GDClassifier().fit(X.astype(np.float32), y)
    assert {model.coef_.dtype, model.intercept_.dtype, model.predict_proba(X.astype(np.float32)).dtype} == {
        np.dtype(np.float32)
    }
    assert model.predict_proba(X) == pytest.approx(st.GDClassifier().fit(X, y).predict_proba(X), abs=1e-4)


def test_data_is_used_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def noted(X: Any, y: Any, **options: Any) -> Any:
        seen.append(X)
        return set_up(X, y, **options)

    monkeypatch.setattr(base, "set_up", noted)
    X, y = cancer()
    for given in (X, np.asfortranarray(X), X.astype(np.float32)):
        st.GDClassifier().fit(given, y)
        assert np.shares_memory(seen[-1], given)
    csr = sparse.csr_matrix(X)
    st.GDClassifier().fit(csr, y)
    assert np.shares_memory(seen[-1].data, csr.data)


def test_a_weight_of_two_is_the_row_twice() -> None:
    X, y = iris()
    weights = np.arange(len(y)) % 4
    rows = np.repeat(np.arange(len(y)), weights)
    for class_weight in (None, "balanced", {"setosa": 2.0, "virginica": 0.5}):
        model = st.GDClassifier(alpha=ALPHA, class_weight=class_weight, tol=1e-10)
        weighted = model.fit(X, y, weights).coef_
        assert weighted == pytest.approx(model.fit(X[rows], y[rows]).coef_, rel=1e-7)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 3.0, 1: 0.5}, {1: 5.0}])
def test_class_weights(class_weight: Any) -> None:
    X, y = cancer()
    model = st.GDClassifier(alpha=ALPHA, class_weight=class_weight, tol=1e-10).fit(X, y)
    counts = np.bincount(y)
    weight = {0: len(y) / (2 * counts[0]), 1: len(y) / (2 * counts[1])} if class_weight == "balanced" else class_weight
    total = sum(weight.get(label, 1.0) * counts[label] for label in (0, 1))
    oracle = LogisticRegression(C=1 / (ALPHA * total), class_weight=class_weight, tol=1e-10, max_iter=10_000)
    assert model.coef_ == pytest.approx(oracle.fit(X, y).coef_, abs=1e-6)


def test_balanced_weights_where_a_class_weighs_nothing() -> None:
    X, y = cancer()
    model = st.GDClassifier(class_weight="balanced").fit(X, y, sample_weight=(y == 1).astype(float))
    assert (model.predict(X) == 1).all()


def test_class_weights_that_cannot_be() -> None:
    X, y = cancer()
    with pytest.raises(ValueError, match="class_weight"):
        st.GDClassifier(class_weight="equal").fit(X, y)
    with pytest.raises(st.InputError, match="class_weight: rows of probabilities have no one class"):
        st.GDClassifier(class_weight="balanced").fit(X, np.column_stack([1 - y, y]))
    with pytest.raises(st.InputError, match="class_weight: partial_fit sees only some rows"):
        st.GDClassifier(class_weight="balanced").partial_fit(X, y, classes=[0, 1])


def test_soft_labels() -> None:
    """Rows of probabilities are each class by itself, weighted by its probability."""
    X, y = iris()
    sharp = st.GDClassifier(alpha=ALPHA, tol=1e-10).fit(X, y)
    soft = 0.9 * (y[:, np.newaxis] == sharp.classes_) + 0.1 / 3
    model = st.GDClassifier(alpha=ALPHA, tol=1e-10).fit(X, soft)
    assert model.classes_.tolist() == [0, 1, 2]
    rows, numbers = np.repeat(X, 3, axis=0), np.tile([0, 1, 2], len(y))
    assert model.coef_ == pytest.approx(st.GDClassifier(alpha=ALPHA, tol=1e-10).fit(rows, numbers, soft.ravel()).coef_)
    assert log_loss(y, model.predict_proba(X)) > log_loss(y, sharp.predict_proba(X))
    two = st.GDClassifier(alpha=ALPHA).fit(X, np.column_stack([1 - soft[:, 0], soft[:, 0]]))
    assert two.coef_.shape == (1, 4)
    assert two.predict_proba(X).shape == (150, 2)


def test_several_targets() -> None:
    X, Y = load_linnerud(return_X_y=True)
    model, oracle = st.GDRegressor(penalty=None).fit(X, Y), LinearRegression().fit(X, Y)
    assert model.coef_.shape == (3, 3)
    assert model.intercept_.shape == (3,)
    assert model.predict(X) == pytest.approx(oracle.predict(X), rel=1e-8)
    assert model.score(X, Y) == pytest.approx(oracle.score(X, Y))
    assert model.sparsify().predict(X) == pytest.approx(oracle.predict(X), rel=1e-8)
    assert model.densify().coef_ == pytest.approx(oracle.coef_)


def test_offset_is_a_known_part_of_the_scores() -> None:
    X, y = diabetes()
    exposure = 1 + np.arange(len(y)) % 5
    model = st.GDRegressor("poisson", alpha=ALPHA, tol=1e-10).fit(X, y, offset=np.log(exposure))
    rate = PoissonRegressor(alpha=ALPHA, solver="newton-cholesky", tol=1e-10)
    # Rates with the exposure as weight, whose mean our penalty does not know.
    rate.set_params(alpha=ALPHA / exposure.mean()).fit(X, y / exposure, sample_weight=exposure)
    assert model.coef_ == pytest.approx(rate.coef_, rel=1e-5)
    assert model.predict(X, offset=np.log(exposure)) == pytest.approx(exposure * model.predict(X))
    labels = (y > 140).astype(int)
    classifier = st.GDClassifier(alpha=ALPHA).fit(X, labels, offset=0.1 * exposure)
    shifted = classifier.decision_function(X, offset=0.1 * exposure)
    assert shifted == pytest.approx(classifier.decision_function(X) + 0.1 * exposure)
    odds = classifier.predict_proba(X, offset=0.1 * exposure)
    assert np.log(odds[:, 1] / odds[:, 0]) == pytest.approx(shifted)
    assert classifier.predict_log_proba(X, offset=0.1 * exposure) == pytest.approx(np.log(odds))
    assert np.array_equal(classifier.predict(X, offset=0.1 * exposure), (shifted > 0).astype(int))
    for wrong in (np.ones(3), np.ones((len(y), 1))):
        with pytest.raises(st.InputError, match="offset: expected shape"):
            model.predict(X, offset=wrong)


@pytest.mark.parametrize("solver", ["gd", "momentum", "nesterov", "adam", "sgd", "lbfgs", "newton"])
@pytest.mark.filterwarnings("ignore::steepest.ConvergenceWarning")
def test_a_warm_start_goes_on_as_if_it_had_never_stopped(solver: str) -> None:
    X, y = cancer()
    model = st.GDClassifier(solver=solver, warm_start=True, tol=0, max_iter=3, batch_size=None)
    whole = st.GDClassifier(solver=solver, tol=0, max_iter=7).fit(X, y)
    model.fit(X, y).set_params(max_iter=4).fit(X, y)
    assert np.array_equal(model.coef_, whole.coef_)
    assert np.array_equal(model.intercept_, whole.intercept_)
    assert model.n_iter_ == 4


def test_a_warm_start_on_other_data_begins_nearby() -> None:
    X, y = cancer()
    model = st.GDClassifier(solver="lbfgs", alpha=ALPHA, warm_start=True).fit(X[:500], y[:500])
    cold = st.GDClassifier(solver="lbfgs", alpha=ALPHA).fit(X, y)
    assert model.fit(X, y).n_iter_ < cold.n_iter_
    assert model.coef_ == pytest.approx(cold.coef_, abs=1e-3)
    with pytest.raises(st.InputError, match=r"^warm_start: coef: expected .* warm_start=False begins anew"):
        model.fit(X[:, :5], y)
    with pytest.raises(st.InputError, match=r"^warm_start: expected a fit of loss 'log_loss' with classes \[1, 2\]"):
        st.GDClassifier(warm_start=True).fit(X, y).fit(X, y + 1)


def test_validation_data_of_the_users_own() -> None:
    X, y = cancer()
    train, held = slice(0, 60), slice(60, None)
    model = st.GDClassifier(solver="gd", alpha=0.0, learning_rate=2.0, max_iter=3000, n_iter_no_change=5)
    model.fit(X[train], y[train], eval_set=(X[held], y[held]))
    assert model.status_ == "early_stopped"
    losses = model.history_.validation_loss
    assert model.fit_.validation_loss == pytest.approx(losses.min())
    assert log_loss(y[held], model.predict_proba(X[held])) == pytest.approx(losses.min())
    longer = st.GDClassifier(solver="gd", alpha=0.0, learning_rate=2.0, max_iter=3000, tol=0).fit(X[train], y[train])
    assert log_loss(y[held], longer.predict_proba(X[held])) > losses.min()


def test_validation_data_that_is_held_out() -> None:
    X, y = cancer()
    model = st.GDClassifier(solver="gd", alpha=0.0, learning_rate=2.0, precondition=False, max_iter=5000)
    model.set_params(early_stopping=True, validation_fraction=0.25, n_iter_no_change=3).fit(X, y)
    assert model.fit_.recipe.shape == (427, 30)
    assert model.status_ == "early_stopped"
    assert model.score(X, y) > 0.95


@pytest.mark.parametrize(
    ("eval_set", "message"),
    [
        (lambda X, y: (X, y, 1), r"eval_set: expected a pair \(X, y\); got tuple"),
        (lambda X, y: (X[:, :2], y), "eval_set: X has 2 features, but GDClassifier is expecting 30 features"),
        (lambda X, y: (X, y + 1), r"eval_set: y: expected labels among \[0, 1\]; got 2"),
        (lambda X, y: (X, y[:5]), r"eval_set: y: expected shape \(569,\); got \(5,\)"),
        (lambda X, y: (np.full_like(X, np.nan), y), r"eval_set: X: expected finite numbers; X\[0, 0\] is NaN"),
    ],
)
def test_validation_data_that_cannot_be(eval_set: Any, message: str) -> None:
    X, y = cancer()
    with pytest.raises(st.InputError, match=f"^{message}"):
        st.GDClassifier().fit(X, y, eval_set=eval_set(X, y))


@pytest.mark.parametrize(
    ("solver", "epoch"),
    [
        ("sgd", {"solver": st.StochasticGradientDescent(momentum=0.0)}),
        ("auto", {"solver": st.StochasticGradientDescent(momentum=0.0)}),
        ("adam", {"solver": "adam", "batch_size": 256, "precondition": False}),
        (st.Adam(batch_size=16), {"precondition": False}),
        (st.StochasticGradientDescent(0.5), {"precondition": False}),
    ],
)
def test_the_first_part_is_an_epoch(solver: Any, epoch: dict[str, Any]) -> None:
    X, y = cancer()
    part = st.GDClassifier(solver=solver).partial_fit(X, y, classes=[0, 1])
    whole = st.GDClassifier(**{"solver": solver, "max_iter": 1, "tol": 0, **epoch}).fit(X, y)
    assert np.array_equal(part.coef_, whole.coef_)
    assert part.n_iter_ == whole.n_iter_ == 1


@pytest.mark.parametrize("solver", [st.Adam(batch_size=16), st.StochasticGradientDescent(0.5, batch_size=16)])
def test_what_a_method_remembers_goes_on_from_part_to_part(solver: Any) -> None:
    X, y = cancer()
    model = st.GDClassifier(solver=solver)
    for _ in range(3):
        model.partial_fit(X, y, classes=[0, 1])
    whole = st.GDClassifier(solver=solver, max_iter=3, tol=0, precondition=False).fit(X, y)
    assert model.coef_ == pytest.approx(whole.coef_, rel=1e-12)
    assert model.set_params(solver="sgd").partial_fit(X, y).set_params(solver="adam").partial_fit(X, y).n_iter_ == 5


@pytest.mark.parametrize("solver", ["sgd", "adam", st.StochasticGradientDescent(0.9)])
@pytest.mark.parametrize("rows", [1, 7, 10, 40, 200])
def test_part_by_part(solver: Any, rows: int) -> None:
    """Any number of rows at a time, down to one, comes near what all at once come to."""
    X, y = cancer()
    model = st.GDClassifier(solver=solver, batch_size=64, alpha=ALPHA)
    n_epochs = 2 if rows == 1 else 10
    for _ in range(n_epochs):
        for start in range(0, len(y), rows):
            model.partial_fit(X[start : start + rows], y[start : start + rows], classes=[0, 1])
    assert model.n_iter_ == n_epochs * -(-len(y) // rows)
    # All at once come to 0.07, a constant to 0.66.
    assert log_loss(y, model.predict_proba(X)) < 0.15
    assert model.score(X, y) > 0.95


def test_parts_of_numbers_and_weights() -> None:
    X, y = diabetes()
    X = StandardScaler().fit_transform(X)
    weights = np.linspace(0.5, 1.5, len(y))
    model = st.GDRegressor(batch_size=32)
    for _ in range(40):
        model.partial_fit(X[:200], y[:200], weights[:200]).partial_fit(X[200:], y[200:], weights[200:])
    best = st.GDRegressor().fit(X, y, weights)
    assert best.score(X, y, weights) - model.score(X, y, weights) < 0.01


def test_parts_that_cannot_be() -> None:
    X, y = cancer()
    with pytest.raises(st.InputError, match="classes: expected all labels that there will be, in the first call"):
        st.GDClassifier().partial_fit(X, y)
    model = st.GDClassifier().partial_fit(X, y, classes=[0, 1, 2])
    assert model.coef_.shape == (3, 30)
    assert model.partial_fit(X[:5], y[:5]).classes_.tolist() == [0, 1, 2]
    with pytest.raises(st.InputError, match=r"classes: expected those of the first call, \[0, 1, 2\]; got \[0, 1\]"):
        model.partial_fit(X, y, classes=[0, 1])
    with pytest.raises(st.InputError, match=r"y: expected labels among \[0, 1, 2\]; got 3"):
        model.partial_fit(X, y + 2)
    with pytest.raises(ValueError, match="X has 3 features, but GDClassifier is expecting 30"):
        model.partial_fit(X[:, :3], y)


def test_random_states() -> None:
    X, y = cancer()

    def coef(random_state: Any) -> NDArray[Any]:
        model = st.GDClassifier(solver="sgd", batch_size=8, max_iter=2, tol=0, random_state=random_state)
        return np.asarray(model.fit(X, y).coef_)

    assert np.array_equal(coef(3), coef(np.int64(3)))
    assert not np.array_equal(coef(3), coef(4))
    assert np.array_equal(coef(np.random.RandomState(5)), coef(np.random.RandomState(5)))
    assert not np.array_equal(coef(None), coef(None))


def test_any_number_of_threads_gives_the_same_bits() -> None:
    X, y = cancer()
    first, second = (st.GDClassifier(n_jobs=n_jobs).fit(X, y).coef_ for n_jobs in (1, 2))
    assert np.array_equal(first, second)
    assert np.array_equal(first, st.GDClassifier(n_jobs=-1).fit(X, y).coef_)


def test_parts_have_the_same_targets() -> None:
    X, y = np.arange(12.0).reshape(6, 2), np.arange(6.0)
    model = st.GDRegressor().partial_fit(X, y)
    with pytest.raises(st.InputError, match="y: expected one dimension, as in the parts before; got 2 columns"):
        model.partial_fit(X, np.c_[y, y])


def test_a_wrong_loss_can_be_displayed() -> None:
    """A notebook shows the estimator before `fit` can say what is wrong with it."""
    for model in (st.GDClassifier(loss="typo"), st.GDRegressor(loss="typo")):
        assert "typo" in model._repr_html_()
