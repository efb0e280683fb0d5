"""A linear head on embeddings: 50,000 rows of 256 single-precision numbers, ten classes, read where they are.

The embeddings are made, not those of a real model: around a centre for each class, normal, in columns of very different
scales. So the best that any classifier can do is known, and the head is measured against it.
Run it: python examples/embeddings.py
"""

from __future__ import annotations

import tracemalloc

import numpy as np

import steepest as st

N_ROWS, N_COLUMNS, N_CLASSES, N_TEST = 50_000, 256, 10, 10_000
#: How far apart the centres are, in standard deviations of a column.
SPREAD = 0.2


def main() -> dict[str, float]:
    """Make embeddings, train a head on them, compare it with the best there can be; return the figures."""
    generator = np.random.default_rng(0)
    centres = SPREAD * generator.standard_normal((N_CLASSES, N_COLUMNS), dtype=np.float32)
    y = generator.integers(N_CLASSES, size=N_ROWS)
    plain = generator.standard_normal((N_ROWS, N_COLUMNS), dtype=np.float32)
    plain += centres[y]
    # Where the noise is the same in every direction, the nearest centre is the best guess.
    distance = np.square(centres).sum(axis=1) - 2 * plain[-N_TEST:] @ centres.T
    best = float(np.mean(distance.argmin(axis=1) == y[-N_TEST:]))
    scales = np.logspace(-2, 2, N_COLUMNS, dtype=np.float32)
    embeddings = plain * scales

    X, labels = embeddings[:-N_TEST], y[:-N_TEST]
    # Columns of a large scale have small coefficients, which a penalty would not see: it is left out.
    head = st.GDClassifier(penalty=None, solver="lbfgs", tol=1e-4)
    tracemalloc.start()
    head.fit(X, labels)
    extra = tracemalloc.get_traced_memory()[1] / X.nbytes
    tracemalloc.stop()
    accuracy = head.score(embeddings[-N_TEST:], y[-N_TEST:])

    print(f"{len(X):,} embeddings of {N_COLUMNS} × {X.dtype}, {X.nbytes / 1e6:.0f} MB, scales from 0.01 to 100")
    n_numbers = head.coef_.size + head.intercept_.size
    print(f"a head of {n_numbers:,} {head.coef_.dtype} numbers, after {head.n_iter_} steps of {head.solver_}")
    print(f"memory of Python and NumPy beside the embeddings: {extra:.0%} of theirs\n")
    print(f"accuracy on {N_TEST:,} others  {accuracy:.2%}")
    print(f"the best there can be     {best:.2%}")
    return {"accuracy": accuracy, "best": best, "extra_memory": extra}


if __name__ == "__main__":
    main()
