"""Fits of dense and sparse X while another thread writes into its arrays; prints how they ended."""

from __future__ import annotations

import collections
import sys
import threading
import warnings
from typing import Any

import numpy as np
from scipy import sparse

import steepest as st

# A chunk of rows is long enough for the writer to come between.
N_ROWS, N_FEATURES, ENTRIES = 30_000, 50, 8


def main(n_fits: int) -> None:
    """Fit that many times."""
    warnings.simplefilter("ignore")
    random = np.random.default_rng(0)
    y = random.normal(size=N_ROWS)
    dense = random.normal(size=(N_ROWS, N_FEATURES))
    columns = np.sort(random.integers(0, N_FEATURES, size=(N_ROWS, ENTRIES)), axis=1).ravel().astype(np.int32)
    pointers = np.arange(0, len(columns) + 1, ENTRIES, dtype=np.int32)
    rows = sparse.csr_array((random.normal(size=len(columns)), columns, pointers), shape=(N_ROWS, N_FEATURES))
    rows.has_canonical_format = True
    kept = [array.copy() for array in (rows.data, rows.indices, rows.indptr, dense)]
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            place = random.integers(0, len(columns) - ENTRIES)
            rows.indices[place : place + ENTRIES] = [-1, 2**31 - 1, N_FEATURES, -(2**31), 7, 0, 10**6, 1]
            rows.data[place] = np.nan
            rows.indptr[place // ENTRIES] = random.integers(-(2**31), 2**31)
            dense[place // ENTRIES] = 1e300
            for array, as_it_was in zip((rows.data, rows.indices, rows.indptr, dense), kept, strict=True):
                array[...] = as_it_was

    writer = threading.Thread(target=write)
    writer.start()
    outcomes: collections.Counter[str] = collections.Counter()
    methods: list[dict[str, Any]] = [
        {"method": "gd", "learning_rate": 1e-3},
        {"method": "sgd", "batch_size": 100},
        {"method": "lbfgs"},
        {"method": "newton", "strategy": "gram"},
    ]
    for i in range(n_fits):
        options = methods[i // 2 % len(methods)]
        try:
            st.descend(rows if i % 2 else dense, y, n_steps=5, n_threads=2, tol=0.0, **options)
        except Exception as error:  # noqa: BLE001
            outcomes[type(error).__name__] += 1
        else:
            outcomes["fitted"] += 1
    done.set()
    writer.join()
    print(*(f"{name} {count}" for name, count in outcomes.items()))  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]))
