"""The problem, the plan to solve it, and the solution: plain descriptions that every backend understands."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steepest.design import Csr, aligned, as_design, computed_in, take_rows
from steepest.errors import InputError
from steepest.losses import Loss, as_loss
from steepest.penalties import ElasticNet
from steepest.tables import expect_names, is_on_gpu
from steepest.validation import as_numbers, as_table, as_vector, as_weights, flag, to_host

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from steepest.methods import Method
    from steepest.step_sizes import StepSize

    State = dict[str, NDArray[np.float64]]


FINGERPRINT_ROWS = 64
#: What a state has of the best point: its parameters; its loss, gradient norm and validation loss, and how many points
#: in a row were not better.
BEST, OF_BEST = "best", "of_best"


class StepInfo(NamedTuple):
    """What is known just before step ``step + 1`` is made."""

    step: int
    loss: float
    gradient_norm: float
    step_size: float
    """The size that the step tries first."""
    seconds: float
    validation_loss: float = np.nan


#: Asked before every recorded step; true stops there.
Callback = Callable[[StepInfo], object]


class Sizes(NamedTuple):
    """How large targets and offsets are, over the rows that weigh something: what rounding is in proportion to."""

    n_rows: int
    targets: float
    """The mean of ``|y|``."""
    target_squares: float
    offsets: float
    offset_squares: float

    def merge(self, other: Sizes) -> Sizes:
        """Return the sizes of the rows of both."""
        n = self.n_rows + other.n_rows
        pairs = zip(self[1:], other[1:], strict=True)
        return Sizes(n, *((self.n_rows * a + other.n_rows * b) / max(n, 1) for a, b in pairs))


@dataclass(frozen=True, eq=False)
class Problem:
    """The objective in full: data, loss, penalty.

    F(W, b) = Σᵢ sᵢ ℓ(yᵢ, W xᵢ + b + offsetᵢ) / Σᵢ sᵢ + penalty(W)
    """

    design: NDArray[Any] | Csr
    """X, (n_samples, n_features), float32 or float64, contiguous by rows or by columns, or sparse.

    For backend "cupy" it may be an array of CuPy, which is on the GPU, in half precision too; all the rest is in main
    memory.
    """
    targets: NDArray[Any]
    """(n_samples,), or (n_samples, width) by rows; `dtype`."""
    sample_weight: NDArray[Any] | None
    """(n_samples,), dtype of X; None is all ones."""
    offset: NDArray[Any] | None
    """(n_samples,), or (n_samples, width) by rows; dtype of X."""
    loss: Loss
    penalty: ElasticNet
    fit_intercept: bool
    precondition: bool
    """Whether a descent works on columns of mean zero and deviation one: a change of variables, not of the problem."""
    classes: NDArray[Any] | None
    """The labels that the class numbers in `targets` stand for."""
    feature_names: list[str] | None = None
    """What the columns of X are called, if it is a frame."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({name: aligned(part) for name, part in state.items()})

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the computation, float32 or float64."""
        return computed_in(self.design)

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return int(self.design.shape[0])

    def batches_per_epoch(self, batch_size: int) -> int:
        """Return how many mini-batches have every row once."""
        return -(-self.n_samples // batch_size)

    def take(self, rows: Any) -> Problem:
        """Return the problem of some of the rows: a slice of dense ones is not copied."""
        weight, offset = self.sample_weight, self.offset
        return replace(
            self,
            design=take_rows(self.design, rows),
            targets=self.targets[rows],
            sample_weight=None if weight is None else weight[rows],
            offset=None if offset is None else offset[rows],
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(n_samples, n_features)."""
        return self.n_samples, int(self.design.shape[1])

    @property
    def total_weight(self) -> float:
        """The weights added up."""
        return float(self.n_samples if self.sample_weight is None else self.sample_weight.sum(dtype=np.float64))

    @property
    def sizes(self) -> Sizes:
        """How large targets and offsets are."""
        counted = slice(None) if self.sample_weight is None else self.sample_weight > 0
        targets = self.targets.astype(np.float64)[counted]
        offsets = np.zeros(1) if self.offset is None else self.offset.astype(np.float64)[counted]
        if not len(targets):
            return Sizes(0, 0.0, 0.0, 0.0, 0.0)
        # Beyond all numbers, the loss will say so.
        with np.errstate(over="ignore"):
            means = [float(np.mean(part)) for array in (targets, offsets) for part in (np.abs(array), array**2)]
        return Sizes(len(targets), *means)

    def fingerprint(self) -> int:
        """Return a checksum of some rows, spread over all: what tells other data of the same shape."""
        rows = slice(None, None, -(-self.n_samples // FINGERPRINT_ROWS) or 1)
        design = self.design
        if isinstance(design, Csr):
            step = len(design.data) // FINGERPRINT_ROWS + 1
            parts = [to_host(design.data[::step]), to_host(design.indices[::step])]
        else:
            parts = [to_host(design[rows])]
        parts += [array[rows] for array in (self.targets, self.sample_weight, self.offset) if array is not None]
        checksum = 0
        for part in parts:
            checksum = zlib.crc32(np.ascontiguousarray(part).tobytes(), checksum)
        return checksum

    @property
    def coef_shape(self) -> tuple[int, ...]:
        """(n_features,), or (width, n_features) where a row has several scores."""
        d = int(self.design.shape[1])
        return (d,) if self.loss.width == 1 else (self.loss.width, d)

    @property
    def n_coef(self) -> int:
        """Number of coefficients."""
        return self.loss.width * int(self.design.shape[1])

    @property
    def n_parameters(self) -> int:
        """Number of coefficients and intercepts that are fitted."""
        return self.n_coef + (self.loss.width if self.fit_intercept else 0)

    def flatten(self, coef: Any, intercept: Any) -> NDArray[np.float64]:
        """Return coefficients and intercept as one flat vector: coef by rows, then intercept if it is fitted."""
        coef, intercept = (to_host(part) if is_on_gpu(part) else part for part in (coef, intercept))
        coef = np.atleast_1d(as_numbers("coef", coef)).astype(np.float64)
        if coef.shape != self.coef_shape:
            raise InputError(f"coef: expected shape {self.coef_shape}; got {coef.shape}")
        intercept = as_numbers("intercept", intercept).astype(np.float64)
        if intercept.size not in {1, self.loss.width}:
            raise InputError(f"intercept: expected {self.loss.width} numbers; got shape {intercept.shape}")
        if not (np.isfinite(coef).all() and np.isfinite(intercept).all()):
            raise InputError("coef and intercept: expected finite numbers")
        if max(np.abs(coef).max(initial=0), np.abs(intercept).max(initial=0)) > np.finfo(self.dtype).max:
            raise InputError(f"coef and intercept: expected numbers in the range of {self.dtype}, the type of X")
        if not self.fit_intercept:
            if intercept.any():
                raise InputError("intercept: expected 0 with fit_intercept=False")
            intercept = np.empty(0)
        else:
            intercept = np.broadcast_to(intercept.ravel(), self.loss.width)
        flat: NDArray[np.float64] = np.concatenate([coef.ravel(), intercept])
        return flat

    def unflatten(self, parameters: NDArray[np.float64]) -> tuple[NDArray[Any], Any]:
        """Return coef (`coef_shape`) and intercept (float, or (width,)), in the dtype of X."""
        dtype = self.dtype
        if np.isfinite(parameters).all() and np.abs(parameters).max(initial=0.0) > np.finfo(dtype).max:
            raise InputError(
                f"X: coefficients for columns of this scale are beyond the range of {dtype}; bring the columns to a "
                "scale near 1, or pass X as float64"
            )
        coef = parameters[: self.n_coef].reshape(self.coef_shape).astype(dtype)
        intercept = parameters[self.n_coef :].astype(dtype)
        if self.loss.width == 1:
            return coef, dtype.type(intercept[0] if self.fit_intercept else 0)
        return coef, intercept if self.fit_intercept else np.zeros(self.loss.width, dtype)


@dataclass(frozen=True)
class Plan:
    """How to descend."""

    method: Method
    step_size: StepSize
    n_steps: int
    tol: float
    """Stop when the optimality is at most tol times that at zero parameters; zero never stops early."""
    n_threads: int
    strategy: str = "stream"
    """How squared errors are evaluated: "stream" from the rows, "gram" from their sufficient statistics."""
    max_seconds: float | None = None
    target_loss: float | None = None
    patience: int = 2**62
    """Evaluations that the validation loss may fail to improve."""
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Solution:
    """Where a descent ended, and how: what is known of its last point."""

    parameters: NDArray[np.float64]
    """Flat, as `Problem.flatten` makes them."""
    loss: float
    gradient_norm: float
    validation_loss: float
    n_steps: int
    status: str
    """A key of `STATUSES`."""
    history: dict[str, NDArray[Any]]
    """step, loss, gradient_norm, step_size, seconds, validation_loss: one entry an evaluation before a step."""
    state: State = field(default_factory=dict)
    """What must be remembered to go on, and the point in the variables that the descent worked on."""
    condition: float | None = None
    """An estimate of the condition number of the normal equations, columns on one scale, where they were taken."""
    best: NDArray[np.float64] | None = None
    """The best parameters by the validation loss, where there is one."""

    def at_best(self) -> Solution:
        """Return what the user gets: this at the best point by the validation loss, where there is one."""
        if self.best is None:
            return self
        memory = {name: values for name, values in self.state.items() if name not in {BEST, OF_BEST}}
        point = self.state[BEST]
        if np.array_equal(point, memory["point"]):
            return replace(self, state=memory, best=None)
        loss, gradient_norm, validation_loss, _ = self.state[OF_BEST].tolist()
        return replace(
            self,
            parameters=self.best,
            loss=loss,
            gradient_norm=gradient_norm,
            validation_loss=validation_loss,
            # What the last point reached, the best one did not.
            status="early_stopped" if self.status in {"converged", "target_loss"} else self.status,
            # What the method remembers belongs to the last point: from another one it begins afresh.
            state={"point": point},
            best=None,
        )


#: How a descent can end, and the sentence for it.
STATUSES = {
    "converged": "the gradient norm reached the tolerance",
    "max_steps": "all steps were made",
    "max_seconds": "the time was up",
    "target_loss": "the loss reached its target",
    "early_stopped": "the validation loss stopped improving; the best parameters were kept",
    "stalled": "no step lowers the loss any further: this is as far as rounding lets it go",
    "stopped": "the callback asked to stop",
    "diverged": "the loss or its gradient is no longer finite",
}


def make_problem(
    X: Any,
    y: Any,
    *,
    loss: str | Loss,
    alpha: float,
    fit_intercept: bool,
    l1_ratio: float = 0.0,
    sample_weight: Any = None,
    offset: Any = None,
    classes: Any = None,
    precondition: bool = False,
) -> Problem:
    """Check the user's arguments, one by one, and put them together. X is not copied if a backend can read it."""
    chosen = as_loss(loss)
    design, names = as_design(X)
    n, dtype = design.shape[0], computed_in(design)
    if y is None:
        raise InputError("y: expected targets; got None")
    prepared, targets, labels = chosen.prepare(y, n, dtype, classes)
    return Problem(
        design=design,
        targets=targets,
        sample_weight=None if sample_weight is None else as_weights(sample_weight, n, dtype),
        offset=None if offset is None else as_offset(offset, n, dtype, prepared.width),
        loss=prepared,
        penalty=ElasticNet.from_ratio(alpha, l1_ratio),
        fit_intercept=flag("fit_intercept", fit_intercept),
        precondition=precondition,
        classes=labels,
        feature_names=names,
    )


def as_offset(offset: Any, n_samples: int, dtype: Any, width: int) -> NDArray[Any]:
    """Return a known part of the scores as (n_samples,) or (n_samples, width), every entry finite."""
    if width == 1:
        return as_vector("offset", offset, n_samples, dtype)
    return as_table("offset", offset, n_samples, dtype, width)


def make_validation(problem: Problem, eval_set: Any) -> Problem:
    """Return the user's validation data as a problem with the loss of `problem` and no penalty."""
    if not isinstance(eval_set, (tuple, list)) or len(eval_set) != 2:  # noqa: PLR2004
        raise InputError(f"eval_set: expected a pair (X, y); got {type(eval_set).__name__}")
    try:
        given, names = as_design(eval_set[0])
        design = _cast(given, problem.dtype)
        prepared, targets, _ = problem.loss.prepare(eval_set[1], design.shape[0], design.dtype, problem.classes)
    except InputError as error:
        raise InputError(f"eval_set: {error}") from None
    if design.shape[1] != problem.design.shape[1]:
        raise InputError(f"eval_set: X: expected {problem.design.shape[1]} columns; got {design.shape[1]}")
    if names is not None and problem.feature_names is not None:
        expect_names("eval_set: X", names, problem.feature_names)
    if prepared.width != problem.loss.width:
        raise InputError(f"eval_set: y: expected {problem.loss.width} targets; got {prepared.width}")
    return Problem(
        design=design,
        targets=targets,
        sample_weight=None,
        offset=None,
        loss=prepared,
        penalty=ElasticNet(0.0, 0.0),
        fit_intercept=problem.fit_intercept,
        precondition=False,
        classes=problem.classes,
        feature_names=problem.feature_names,
    )


def _cast(design: NDArray[Any] | Csr, dtype: Any) -> NDArray[Any] | Csr:
    if isinstance(design, Csr):
        return replace(design, data=design.data.astype(dtype, copy=False))
    return design.astype(dtype, copy=False)
