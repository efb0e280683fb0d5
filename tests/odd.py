"""Descriptions of problems that are wrong in every way that an array or a number can be, from a seed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

KERNELS = ("mse", "log_loss", "softmax", "softmax_probabilities", "huber", "poisson", "squared_hinge", "none")
METHODS = ("gd", "momentum", "nesterov", "adam", "sgd", "lbfgs", "newton", "coordinate", "none")
STEP_SIZES = (
    "auto",
    "constant",
    "inverse_scaling",
    "exponential",
    "cosine",
    "armijo",
    "barzilai_borwein",
    "none",
)
SETTINGS = (
    "momentum",
    "beta1",
    "beta2",
    "epsilon",
    "batch_size",
    "replacement",
    "memory",
    "rate",
    "power",
    "decay",
    "n_steps",
    "least",
    "share",
)
ODD_NUMBERS = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e308, -1e308, 5e-324, np.nan, np.inf, -np.inf, 2.0**53, 2.0**63, 1e-300)
ODD_INTEGERS = (0, 1, 2, 3, 7, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1)
DTYPES = ("f8", "f4", ">f8", "f2", "i4", "i8", "u1", "?", "c16", "O")


class Odd:
    """Draws what is mostly right and in some place wrong."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def rarely(self, share: float = 0.04) -> bool:
        """Return True now and then."""
        return bool(self.random.random() < share)

    def one_of(self, choices: Any) -> Any:
        """Return one of the choices."""
        return choices[int(self.random.integers(len(choices)))]

    def number(self) -> float:
        """Return a number, sometimes an odd one."""
        return float(self.one_of(ODD_NUMBERS)) if self.rarely(0.2) else float(self.random.normal())

    def array(self, shape: Any, dtype: str) -> Any:
        """Return an array, sometimes of another type, length or layout, or with holes."""
        if self.rarely(0.02):
            return self.one_of([None, "text", 3.0, [1.0, 2.0], np.float64(1), np.empty(0), np.zeros((1, 1, 1))])
        shape = tuple(max(0, size + (int(self.random.integers(-2, 3)) if self.rarely() else 0)) for size in shape)
        array = self.random.integers(-2, 3, size=shape) if self.rarely(0.3) else self.random.normal(size=shape)
        array = np.asarray(array, dtype="f8")
        if array.size and self.rarely(0.1):
            array.flat[int(self.random.integers(array.size))] = self.number()
        with np.errstate(all="ignore"):
            array = array.astype(self.one_of(DTYPES) if self.rarely() else dtype)
        if self.rarely(0.05):
            layouts = (
                lambda a: np.repeat(a, 2, axis=0)[::2],
                lambda a: a[::-1],
                np.asfortranarray,
                lambda a: a.T,
                lambda a: np.broadcast_to(a[:1], a.shape),
                lambda a: np.frombuffer(b"\0" + a.tobytes(), "u1")[1:].view(a.dtype).reshape(a.shape),
            )
            array = self.one_of(layouts)(array) if array.dtype != object and array.size else array
        if self.rarely(0.05):
            array.flags.writeable = False
        return array

    def sparse(self, shape: tuple[int, int], dtype: str) -> SimpleNamespace:
        """Return rows in compressed form, sometimes with pointers or indices that lead nowhere."""
        n, d = shape
        index = self.one_of(("i4", "i8"))
        lengths = self.random.integers(0, d + 1, size=n)
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(index)
        indices = self.random.integers(0, max(d, 1), size=int(lengths.sum())).astype(index)
        if self.rarely(0.3):
            for array in (indptr, indices):
                if array.size and self.rarely(0.5):
                    limits = np.iinfo(array.dtype)
                    wrong = self.one_of([-1, d, d + 1, limits.max, limits.min, int(indptr[-1]) + 1])
                    array[int(self.random.integers(array.size))] = wrong
        if self.rarely():
            indptr = self.array((n + 1,), self.one_of(("i4", "i8", "f8")))
        data = self.array((len(indices),), dtype)
        columns = d if not self.rarely() else self.one_of(ODD_INTEGERS)
        return SimpleNamespace(indptr=indptr, indices=indices, data=data, shape=(n, columns))

    def problem(self) -> SimpleNamespace:
        """Return what `steepest.problem.Problem` is to the core."""
        n, d = (int(size) for size in self.random.integers(1, 9, size=2))
        dtype, kernel = self.one_of(("f4", "f8")), self.one_of(KERNELS)
        width = int(self.random.integers(1, 4)) if kernel in {"mse", "softmax", "softmax_probabilities"} else 1
        targets = self.array((n,) if width == 1 or kernel == "softmax" else (n, width), dtype)
        if kernel == "softmax" and not self.rarely() and isinstance(targets, np.ndarray) and targets.dtype.kind == "f":
            targets = self.random.integers(0, width, size=targets.shape).astype(dtype)
        return SimpleNamespace(
            design=self.sparse((n, d), dtype) if self.rarely(0.4) else self.array((n, d), dtype),
            targets=targets,
            sample_weight=np.abs(self.random.normal(size=n)).astype(dtype) if self.rarely(0.2) else None,
            offset=self.array((n,) if width == 1 else (n, width), dtype) if self.rarely(0.1) else None,
            loss=SimpleNamespace(
                kernel=kernel,
                width=width if not self.rarely() else self.one_of(ODD_INTEGERS[:-2]),
                parameter=self.number(),
            ),
            penalty=SimpleNamespace(l1=abs(self.number()), l2=abs(self.number())),
            fit_intercept=not self.rarely(0.3),
            precondition=self.rarely(0.4),
        )

    def plan(self) -> SimpleNamespace:
        """Return what `steepest.problem.Plan` is to the core, for a few steps."""

        def settings() -> dict[str, float]:
            return {name: self.number() for name in SETTINGS if self.rarely(0.7)}

        return SimpleNamespace(
            method=SimpleNamespace(name=self.one_of(METHODS), settings=settings()),
            step_size=SimpleNamespace(name=self.one_of(STEP_SIZES), settings=settings()),
            n_steps=int(self.random.integers(0, 5)),
            tol=self.number(),
            max_seconds=1.0,
            target_loss=self.number() if self.rarely(0.1) else None,
            patience=int(self.random.integers(0, 3)),
            seed=self.one_of(ODD_INTEGERS),
            n_threads=self.one_of((0, 1, 2, 3)),
            strategy=self.one_of(("stream", "gram", "none")),
        )

    def n_parameters(self, problem: SimpleNamespace) -> int:
        """Return the length that parameters should have, where that is a number to work with."""
        try:
            columns, width = int(problem.design.shape[1]), problem.loss.width
        except (AttributeError, IndexError):
            return 3
        return min(int(width) * columns + (int(width) if problem.fit_intercept else 0), 64)

    def statistics(self, order: int) -> tuple[float, Any, Any]:
        """Return a weight, means and moments."""
        return self.number(), self.array((order,), "f8"), self.array((order * order,), "f8")
