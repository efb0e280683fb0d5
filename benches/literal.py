"""The same steps by everybody: how long they take. One contestant in a fresh process prints a line of JSON.

literal.py CONTEST CONTESTANT SHRINK, with the contests `seed`, `steps` and `epoch`.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import cases

THREADS, ROUNDS = 2, 7
#: Seconds after which no further round begins.
PATIENCE = 20.0
Task = Callable[[], float]


def _line() -> tuple[Any, Any]:
    """Return the 100 points of the first lesson."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal(100).astype(np.float32)
    return x, (2 * x + 1 + 0.5 * generator.standard_normal(100)).astype(np.float32)


def seed_steepest(shrink: int) -> Task:  # noqa: ARG001
    """descend(x, y, learning_rate=0.01, n_steps=1000)"""
    import steepest as st

    x, y = _line()
    return lambda: float(st.descend(x, y, learning_rate=0.01, n_steps=1000, n_threads=THREADS).history.loss[-1])


def seed_numpy(shrink: int) -> Task:  # noqa: ARG001
    """A loop"""
    x, y = _line()

    def run() -> float:
        w = b = np.float32(0)
        losses = []
        for _ in range(1000):
            residual = w * x + b - y
            losses.append(residual @ residual / 100)
            w, b = w - 0.02 * (residual @ x) / 100, b - 0.02 * residual.sum() / 100
        return float(losses[-1])

    return run


def _jax_descent(X: Any, y: Any, rate: float, n_steps: int) -> Task:
    import jax
    import jax.numpy as jnp

    X, y, n = jnp.asarray(X), jnp.asarray(y), len(y)

    def loss(parameters: Any, X: Any, y: Any) -> Any:
        residual = X @ parameters[0] + parameters[1] - y
        return residual @ residual / n

    @jax.jit
    def descent(parameters: Any, X: Any, y: Any) -> Any:
        def step(parameters: Any, _: Any) -> Any:
            value, gradient = jax.value_and_grad(loss)(parameters, X, y)
            return jax.tree.map(lambda p, g: p - rate * g, parameters, gradient), value

        return jax.lax.scan(step, parameters, None, length=n_steps)

    zero = (jnp.zeros(X.shape[1], jnp.float32), jnp.float32(0))
    return lambda: float(np.asarray(descent(zero, X, y)[1])[-1])


def seed_jax(shrink: int) -> Task:  # noqa: ARG001
    """lax.scan, compiled before"""
    x, y = _line()
    return _jax_descent(x[:, None], y, 0.01, 1000)


def _torch_descent(X: Any, y: Any, rate: float, n_steps: int) -> Task:
    import torch

    torch.set_num_threads(THREADS)
    X, y = torch.from_numpy(X), torch.from_numpy(y)

    def run() -> float:
        w, b = torch.zeros(X.shape[1], requires_grad=True), torch.zeros((), requires_grad=True)
        optimiser = torch.optim.SGD([w, b], lr=rate)
        for _ in range(n_steps):
            optimiser.zero_grad()
            loss = torch.mean((X @ w + b - y) ** 2)
            loss.backward()
            optimiser.step()
        return float(loss)

    return run


def seed_torch(shrink: int) -> Task:  # noqa: ARG001
    """autograd, torch.optim.SGD"""
    x, y = _line()
    return _torch_descent(x[:, None], y, 0.01, 1000)


def _steps_steepest(shrink: int, strategy: str) -> Task:
    import steepest as st

    case = cases.ols(shrink)
    options: dict[str, Any] = {"learning_rate": 0.1, "n_steps": 100, "strategy": strategy, "n_threads": THREADS}
    return lambda: float(st.descend(case.X, case.y, **options).history.loss[-1])


def steps_stream(shrink: int) -> Task:
    """descend(…, strategy="stream")"""
    return _steps_steepest(shrink, "stream")


def steps_auto(shrink: int) -> Task:
    """descend(…), which takes the Gram matrix first"""
    return _steps_steepest(shrink, "auto")


def steps_numpy(shrink: int) -> Task:
    """Two products a step"""
    case = cases.ols(shrink)
    X, y, n = case.X, case.y, np.float32(len(case.y))

    def run() -> float:
        w, b, loss = np.zeros(X.shape[1], np.float32), np.float32(0), np.float32(0)
        for _ in range(100):
            residual = X @ w + b - y
            loss = residual @ residual / n
            w, b = w - np.float32(0.2) / n * (X.T @ residual), b - np.float32(0.2) / n * residual.sum()
        return float(loss)

    return run


def steps_jax(shrink: int) -> Task:
    """lax.scan, compiled before"""
    case = cases.ols(shrink)
    return _jax_descent(case.X, case.y, 0.1, 100)


def steps_torch(shrink: int) -> Task:
    """autograd, torch.optim.SGD"""
    case = cases.ols(shrink)
    return _torch_descent(case.X, case.y, 0.1, 100)


def _epoch_steepest(shrink: int, epochs: int) -> Task:
    import steepest as st

    case = cases.logistic(shrink)
    batches = -(-len(case.y) // 256)
    options: dict[str, Any] = {"loss": "log_loss", "alpha": case.alpha, "method": "sgd", "n_threads": THREADS}

    def run() -> float:
        fit = st.descend(case.X, case.y, n_steps=epochs * batches, **options)
        return case.objective(fit.coef, fit.intercept) if epochs > 1 else fit.loss

    return run


def epoch_steepest(shrink: int) -> Task:
    """method="sgd", one epoch"""
    return _epoch_steepest(shrink, 1)


def epoch_steepest_three(shrink: int) -> Task:
    """method="sgd", three epochs; the number is the objective"""
    return _epoch_steepest(shrink, 3)


def _epoch_sklearn(shrink: int, epochs: int) -> Task:
    from sklearn.linear_model import SGDClassifier

    case = cases.logistic(shrink)

    def run() -> float:
        model = SGDClassifier(loss="log_loss", alpha=case.alpha, max_iter=epochs, tol=None, random_state=0)
        model.fit(case.X, case.y)
        return case.objective(model.coef_[0], model.intercept_) if epochs > 1 else 0.0

    return run


def epoch_sklearn(shrink: int) -> Task:
    """SGDClassifier, one epoch"""
    return _epoch_sklearn(shrink, 1)


def epoch_sklearn_three(shrink: int) -> Task:
    """SGDClassifier, three epochs; the number is the objective"""
    return _epoch_sklearn(shrink, 3)


CONTESTS: dict[str, dict[str, Callable[[int], Task]]] = {
    "seed": {"steepest": seed_steepest, "numpy": seed_numpy, "jax": seed_jax, "torch": seed_torch},
    "steps": {
        "steepest, stream": steps_stream,
        "steepest, auto": steps_auto,
        "numpy": steps_numpy,
        "jax": steps_jax,
        "torch": steps_torch,
    },
    "epoch": {
        "steepest": epoch_steepest,
        "steepest, three": epoch_steepest_three,
        "sklearn": epoch_sklearn,
        "sklearn, three": epoch_sklearn_three,
    },
}


def main() -> None:
    """Run one contestant."""
    contest, contestant, shrink = sys.argv[1], sys.argv[2], int(sys.argv[3])
    make = CONTESTS[contest][contestant]
    warnings.simplefilter("ignore")
    try:
        task = make(shrink)
        start = time.perf_counter()
        task()
        first = time.perf_counter() - start
    except ImportError as error:
        print(json.dumps({"note": f"not installed: {error}"}))
        return
    best, spent = float("inf"), first
    # Short ones are repeated until something else that runs on the machine has had time to go away.
    rounds = ROUNDS if first > 0.1 else 100 * ROUNDS
    for _ in range(rounds):
        start = time.perf_counter()
        number = task()
        seconds = time.perf_counter() - start
        best, spent = min(best, seconds), spent + seconds
        if spent > PATIENCE:
            break
    print(json.dumps({"first": first, "seconds": best, "number": number, "how": (make.__doc__ or "").strip()}))


if __name__ == "__main__":
    main()
