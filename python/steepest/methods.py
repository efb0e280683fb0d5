"""Methods: what to do with a gradient.

Each is a frozen description with its portable form; the fast form is in ``src/method``. Pass one where a method is
asked for: ``method=st.StochasticGradientDescent(batch_size=64)``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from steepest.errors import InputError
from steepest.step_sizes import SEARCHES, Auto, StepSize, as_step_size
from steepest.updates import AcceleratedUpdate, AdamUpdate, GradientUpdate, HeavyBallUpdate
from steepest.validation import flag, integer, known, number

if TYPE_CHECKING:
    from steepest.updates import Update

DEFAULT_BATCH = 256


class Method(Protocol):
    """A frozen description of a method."""

    name: ClassVar[str]
    takes_l1: ClassVar[bool]
    """Whether it can minimise a penalty with an ℓ1 part."""
    takes_learning_rate: ClassVar[bool]
    """Whether it can make steps of a given size."""
    needs_statistics: ClassVar[bool]
    """Whether it works on sufficient statistics alone, which squared errors have and no other loss."""

    @property
    def settings(self) -> dict[str, float]:
        """The numbers of the method, by name; None is 0."""

    def fitted_to(self, n_samples: int) -> Self:
        """Return the description with what depends on the number of rows filled in and checked."""


class _Described:
    takes_l1: ClassVar[bool] = True
    takes_learning_rate: ClassVar[bool] = True
    needs_statistics: ClassVar[bool] = False

    @property
    def settings(self) -> dict[str, float]:
        """The numbers of the method, by name; None is 0."""
        return {name: float(value or 0) for name, value in asdict(self).items()}  # type: ignore[call-overload]

    def fitted_to(self, n_samples: int) -> Self:  # noqa: ARG002
        """Return the description as it is: nothing depends on the number of rows."""
        return self


@dataclass(frozen=True)
class GradientDescent(_Described):
    """Gradient descent.

    :step:     w ← prox(w − η ∇f(w))
    :rate:     F(wₖ) − F* ≤ ‖w₀ − w*‖² / (2 η k) for η ≤ 1/L
    """

    name: ClassVar[str] = "gd"

    def update(self) -> Update:
        """Return the update with nothing to remember yet."""
        return GradientUpdate()


def _check_momentum(momentum: object) -> None:
    if number("momentum", momentum, least=0.0) >= 1:
        raise InputError(f"momentum: expected a number in [0, 1); got {momentum!r}")


@dataclass(frozen=True)
class Momentum(_Described):
    """Heavy ball: every step goes on with a share of the last one.

    :step:     w ← prox(w − η ∇f(w) + β (w − w₋)), with w₋ the point before
    :settings: momentum β in [0, 1)
    """

    momentum: float = 0.9
    name: ClassVar[str] = "momentum"

    def __post_init__(self) -> None:
        _check_momentum(self.momentum)

    def update(self) -> Update:
        """Return the update with nothing to remember yet."""
        return HeavyBallUpdate(self.momentum)


@dataclass(frozen=True)
class Nesterov(_Described):
    """Accelerated proximal gradient (FISTA) with adaptive restart.

    :step:     x₊ = prox(y − η ∇f(y)),  y₊ = x₊ + (t − 1) / t₊ · (x₊ − x),  t₊ = ½ (1 + √(1 + 4 t²))
    :restart:  t = 1 wherever ⟨y − x₊, x₊ − x⟩ > 0: momentum leads uphill
    :rate:     F(xₖ) − F* ≤ 2 ‖w₀ − w*‖² / (η (k + 1)²) for η ≤ 1/L, until the first restart

    The descent is at y, where the gradients are, so that a step is one pass.
    """

    name: ClassVar[str] = "nesterov"

    def update(self) -> Update:
        """Return the update with nothing to remember yet."""
        return AcceleratedUpdate()


def _fitted_batch(batch_size: int, n_samples: int) -> int:
    if batch_size > n_samples:
        raise InputError(f"batch_size: expected at most the number of rows, {n_samples}; got {batch_size}")
    return batch_size


@dataclass(frozen=True)
class Adam(_Described):
    """Adam: each parameter has a step size of its own, from running means of its gradient and of its square.

    :step:     w ← prox(w − η m̂ / (√v̂ + ε)), the proximal map in the metric of these step sizes
    :settings: beta1, beta2 in [0, 1) for the means m and v; epsilon > 0; batch_size for mini-batches, None for all rows
    :source:   Kingma and Ba, arXiv 1412.6980, algorithm 1; the proximal map is added
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    batch_size: int | None = None
    replacement: bool = False
    name: ClassVar[str] = "adam"

    def __post_init__(self) -> None:
        for name in ("beta1", "beta2"):
            if number(name, getattr(self, name), least=0.0) >= 1:
                raise InputError(f"{name}: expected a number in [0, 1); got {getattr(self, name)!r}")
        number("epsilon", self.epsilon, above=0.0)
        flag("replacement", self.replacement)
        if self.batch_size is not None:
            integer("batch_size", self.batch_size, least=1)

    def fitted_to(self, n_samples: int) -> Self:
        """Return the description, checked against the number of rows."""
        if self.batch_size is not None:
            _fitted_batch(self.batch_size, n_samples)
        return self

    def biases(self, n_seen: int) -> tuple[float, float]:
        """Return the share of gradients in each of the two means after `n_seen` of them."""
        return 1 - self.beta1**n_seen, 1 - self.beta2**n_seen

    def update(self) -> Update:
        """Return the update with nothing to remember yet."""
        return AdamUpdate(self)


@dataclass(frozen=True)
class StochasticGradientDescent(_Described):
    """Heavy ball with the gradient of a few rows at a time: many cheap steps a pass over the data.

    :step:     w ← prox(w − η g(w) + β (w − w₋)), g the gradient of the batch, weighted so that it is unbiased
    :settings: momentum β in [0, 1); batch_size rows a step (default 256, or all there are); replacement
    :batches:  blocks of up to 16 neighbouring rows. Without replacement every epoch has each row once, in an order of
               blocks that is drawn anew; with it, each block of each batch is drawn from all. If rows are sorted, and
               more than a block at a time is alike, shuffle them first.

    The full objective is evaluated, recorded and tested for convergence after every epoch, at the cost of one pass.
    """

    momentum: float = 0.9
    batch_size: int | None = None
    replacement: bool = False
    name: ClassVar[str] = "sgd"

    def __post_init__(self) -> None:
        _check_momentum(self.momentum)
        flag("replacement", self.replacement)
        if self.batch_size is not None:
            integer("batch_size", self.batch_size, least=1)

    def fitted_to(self, n_samples: int) -> Self:
        """Return the description with the batch filled in, checked against the number of rows."""
        if self.batch_size is None:
            return replace(self, batch_size=min(DEFAULT_BATCH, n_samples))
        _fitted_batch(self.batch_size, n_samples)
        return self

    def update(self) -> Update:
        """Return the update with nothing to remember yet."""
        return HeavyBallUpdate(self.momentum)


@dataclass(frozen=True)
class Lbfgs(_Described):
    """L-BFGS: a Newton direction from the last `memory` moves and changes of gradient.

    :step:     w ← w − t H ∇F(w), H the inverse Hessian that the memory suggests
    :search:   Wolfe's conditions on t; the full step is tried by a pass that also gives the next gradient, all further
               trials read scores that are known, not X: one pass a step, two where the full step is not good enough
    :source:   Nocedal and Wright, Numerical Optimization, algorithms 7.4 and 7.5
    """

    memory: int = 10
    name: ClassVar[str] = "lbfgs"
    takes_l1: ClassVar[bool] = False
    takes_learning_rate: ClassVar[bool] = False

    def __post_init__(self) -> None:
        integer("memory", self.memory, least=1)


@dataclass(frozen=True)
class Newton(_Described):
    """Newton's method: the Hessian by a weighted Gram matrix, its Cholesky factor, and a line search.

    :step:     w ← w − t (∇²F(w) + τ I)⁻¹ ∇F(w), τ = 0 where the Hessian is positive definite, else as small as can be
    :cost:     two passes and n d² multiplications a step; memory for a matrix of (width · (d + 1))² numbers
    """

    name: ClassVar[str] = "newton"
    takes_l1: ClassVar[bool] = False
    takes_learning_rate: ClassVar[bool] = False


@dataclass(frozen=True)
class CoordinateDescent(_Described):
    """Cyclic coordinate descent on the Gram matrix, for squared errors.

    :step:     each wⱼ in turn to where F is least, the others held, which is a proximal map; then Newton's step among
               the wⱼ that are not zero, up to where the first of them becomes zero; the intercept always at its best
    :cost:     d multiplications for each wⱼ that moves, and p³ / 3 for the p that are not zero; no pass over the rows
    """

    name: ClassVar[str] = "coordinate"
    takes_learning_rate: ClassVar[bool] = False
    needs_statistics: ClassVar[bool] = True


METHODS: dict[str, type[Method]] = {
    "gd": GradientDescent,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adam": Adam,
    "sgd": StochasticGradientDescent,
    "lbfgs": Lbfgs,
    "newton": Newton,
    "coordinate": CoordinateDescent,
}
#: Methods that take a batch_size.
MINI_BATCH = ("adam", "sgd")


def as_method(given: str | Method, n_samples: int, batch_size: int | None) -> Method:
    """Return the method that `given` names, or is, for this many rows; `batch_size` where it takes one."""
    method: Method = METHODS[known("method", given, METHODS)]() if isinstance(given, str) else given
    if not isinstance(method, tuple(METHODS.values())):
        raise InputError(f"method: expected one of {', '.join(sorted(METHODS))} or a method; got {given!r}")
    if batch_size is not None:
        integer("batch_size", batch_size, least=1)
        if not isinstance(method, (Adam, StochasticGradientDescent)):
            raise InputError(
                f"batch_size: method {method.name!r} uses all rows at every step; "
                f"methods with mini-batches: {', '.join(MINI_BATCH)}"
            )
        method = replace(method, batch_size=batch_size)
    return method.fitted_to(n_samples)


def check_penalty(method: Method, l1: float) -> None:
    """Raise an error that names the methods that can, if this one cannot minimise an ℓ1 part."""
    if l1 > 0 and not method.takes_l1:
        able = [name for name, kind in METHODS.items() if kind.takes_l1]
        raise InputError(
            f"l1_ratio: method {method.name!r} needs a smooth penalty, l1_ratio=0; "
            f"methods that take an ℓ1 part: auto, {', '.join(able)}"
        )


def matching_step_size(method: Method, learning_rate: Any, *, automatic: bool = False) -> StepSize:
    """Return the rule for step sizes, if the method, which "auto" may have chosen, can follow it."""
    step_size = as_step_size(learning_rate)
    if not method.takes_learning_rate and not isinstance(step_size, Auto):
        able = [name for name, kind in METHODS.items() if kind.takes_learning_rate]
        subject = f"method='auto' chose {method.name!r}, which" if automatic else f"method {method.name!r}"
        raise InputError(
            f"learning_rate: {subject} searches for its own step sizes, learning_rate='auto'; "
            f"methods that take one: {', '.join(able)}"
        )
    if isinstance(step_size, SEARCHES) and not isinstance(method, GradientDescent):
        raise InputError(f"learning_rate: {step_size.name!r} is for method 'gd'; got method {method.name!r}")
    return step_size
