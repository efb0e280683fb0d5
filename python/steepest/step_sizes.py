"""Step sizes: how far along the method's direction. A rule proposes a size and judges the point that it leads to.

The portable form; the fast form of each is in ``src/step.rs``. Pass one as `learning_rate`:
``learning_rate=st.Cosine(0.1, n_steps=500)``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from steepest.errors import InputError
from steepest.validation import integer, number

if TYPE_CHECKING:
    from collections.abc import Callable

    State = dict[str, Any]


class Point(NamedTuple):
    """A point with the smooth part's value and gradient there, and the objective, rough part included.

    Value and loss are arrays without dimensions: to decide by one is to wait for it where it is computed on a GPU.
    """

    parameters: Any
    value: Any
    gradient: Any
    loss: Any


class Trial(NamedTuple):
    """A step that could be made."""

    here: Point
    there: Point
    size: float
    rounding: Callable[[], Any]
    """By how much rounding alone may lift a value: computed by the rules that ask."""


class Rule(Protocol):
    """What a descent asks of its step sizes; it has a memory, so each descent has its own."""

    def propose(self, xp: Any, step: int, here: Point, curvature: Callable[[], float]) -> float:
        """Return the size that the next step tries first; `step` counts from the first of all."""

    def accepts(self, xp: Any, trial: Trial) -> bool:
        """Return whether a trial is good enough; if not, half its size is tried."""

    def save(self) -> State:
        """Return what the rule must remember to go on."""

    def load(self, state: State) -> None:
        """Go on from what was remembered."""


class StepSize(Protocol):
    """A frozen description of a rule."""

    name: ClassVar[str]

    @property
    def settings(self) -> dict[str, float]:
        """The numbers of the rule, by name."""

    def rule(self) -> Rule:
        """Return the rule with nothing to remember yet."""


class _Described:
    @property
    def settings(self) -> dict[str, float]:
        """The numbers of the rule, by name."""
        return {name: float(value) for name, value in asdict(self).items()}  # type: ignore[call-overload]


class _Schedule(_Described, ABC):
    """A size that depends on the number of the step alone: the description is its own rule."""

    def rule(self) -> Any:
        """Return the rule."""
        return self

    def propose(self, xp: Any, step: int, here: Point, curvature: Callable[[], float]) -> float:  # noqa: ARG002
        """Return the size of step `step`."""
        return self.at(step)

    @abstractmethod
    def at(self, step: int) -> float:
        """Return the size of step `step`."""

    def accepts(self, xp: Any, trial: Trial) -> bool:  # noqa: ARG002
        """Return True: a schedule is literal."""
        return True

    def save(self) -> State:
        """Return nothing: there is nothing to remember."""
        return {}

    def load(self, state: State) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Constant(_Schedule):
    """The same `rate` for every step.

    Examples
    --------
    >>> import steepest as st
    >>> st.Constant(0.1).at(7)
    0.1
    """

    rate: float
    name: ClassVar[str] = "constant"

    def __post_init__(self) -> None:
        number("rate", self.rate, above=0.0)

    def at(self, step: int) -> float:  # noqa: ARG002
        """Return `rate`."""
        return float(self.rate)


@dataclass(frozen=True)
class InverseScaling(_Schedule):
    """rate / (1 + k)^power for step k, counted from 0.

    Examples
    --------
    >>> import steepest as st
    >>> st.InverseScaling(0.1, power=0.5).at(3)
    0.05
    """

    rate: float
    power: float = 0.5
    name: ClassVar[str] = "inverse_scaling"

    def __post_init__(self) -> None:
        number("rate", self.rate, above=0.0)
        number("power", self.power, least=0.0)

    def at(self, step: int) -> float:
        """Return rate / (1 + step)^power."""
        return self.rate / math.pow(1.0 + step, self.power)


@dataclass(frozen=True)
class Exponential(_Schedule):
    """rate · decayᵏ for step k, counted from 0.

    Examples
    --------
    >>> import steepest as st
    >>> st.Exponential(0.1, decay=0.5).at(2)
    0.025
    """

    rate: float
    decay: float = 0.999
    name: ClassVar[str] = "exponential"

    def __post_init__(self) -> None:
        number("rate", self.rate, above=0.0)
        if number("decay", self.decay, above=0.0) > 1:
            raise InputError(f"decay: expected a number in (0, 1]; got {self.decay!r}")

    def at(self, step: int) -> float:
        """Return rate · decay^step."""
        return self.rate * math.pow(self.decay, step)


@dataclass(frozen=True)
class Cosine(_Schedule):
    """From `rate` to `least` along half a cosine over `n_steps` steps; `least` ever after.

    Examples
    --------
    >>> import steepest as st
    >>> [round(st.Cosine(0.1, n_steps=10).at(k), 3) for k in (0, 5, 10, 20)]
    [0.1, 0.05, 0.0, 0.0]
    """

    rate: float
    n_steps: int
    least: float = 0.0
    name: ClassVar[str] = "cosine"

    def __post_init__(self) -> None:
        number("rate", self.rate, above=0.0)
        integer("n_steps", self.n_steps, least=1)
        number("least", self.least, least=0.0)

    def at(self, step: int) -> float:
        """Return least + ½ (rate − least) (1 + cos π min(step / n_steps, 1))."""
        return self.least + 0.5 * (self.rate - self.least) * (1.0 + math.cos(math.pi * min(step / self.n_steps, 1.0)))


@dataclass(frozen=True)
class Auto(_Described):
    """1/L, the step of the best guaranteed descent, halved wherever the objective bends more than L said.

    L bounds the curvature: of the loss everywhere if it has such a bound, else where the descent starts. The test is
    f(to) ≤ f(from) + ⟨∇f(from), to − from⟩ + ‖to − from‖² / 2η, which holds between any two points if η ≤ 1/L.
    """

    name: ClassVar[str] = "auto"

    def rule(self) -> Rule:
        """Return the rule."""
        return _Backtracking()


class _Backtracking:
    def __init__(self) -> None:
        self.size: float | None = None

    def propose(self, xp: Any, step: int, here: Point, curvature: Callable[[], float]) -> float:  # noqa: ARG002
        if self.size is None:
            self.size = _inverse(curvature())
        return self.size

    def accepts(self, xp: Any, trial: Trial) -> bool:
        here, there, size, rounding = trial
        if size == 0:
            return False
        way = there.parameters - here.parameters
        bound = here.value + xp.sum(way * here.gradient) + xp.sum(way * way) / (2 * size)
        accepted = bool(there.value <= bound + rounding())
        if accepted:
            self.size = size
        return accepted

    def save(self) -> State:
        return {} if self.size is None else {"step_size": [self.size]}

    def load(self, state: State) -> None:
        self.size = float(state["step_size"][0]) if "step_size" in state else None


def _inverse(curvature: float) -> float:
    # A function without curvature is constant: any step will do.
    return 1 / curvature if curvature != 0 else 1.0


@dataclass(frozen=True)
class Armijo(_Described):
    """The first of rate, rate/2, rate/4, … that lowers the objective by `share` of what its slope promises.

    Each search begins at twice the size that the last one ended with.
    """

    rate: float = 1.0
    share: float = 1e-4
    name: ClassVar[str] = "armijo"

    def __post_init__(self) -> None:
        number("rate", self.rate, above=0.0)
        if number("share", self.share, above=0.0) >= 1:
            raise InputError(f"share: expected a number in (0, 1); got {self.share!r}")

    def rule(self) -> Rule:
        """Return the rule."""
        return _ArmijoRule(self)


class _ArmijoRule:
    def __init__(self, armijo: Armijo) -> None:
        self.armijo = armijo
        self.last: float | None = None

    def propose(self, xp: Any, step: int, here: Point, curvature: Callable[[], float]) -> float:  # noqa: ARG002
        return self.armijo.rate if self.last is None else 2 * self.last

    def accepts(self, xp: Any, trial: Trial) -> bool:
        here, there, size, rounding = trial
        way = there.parameters - here.parameters
        accepted = bool(there.loss <= here.loss - self.armijo.share * xp.sum(way * way) / size + rounding())
        if accepted:
            self.last = size
        return accepted

    def save(self) -> State:
        return {} if self.last is None else {"step_size": [self.last]}

    def load(self, state: State) -> None:
        self.last = float(state["step_size"][0]) if "step_size" in state else None


@dataclass(frozen=True)
class BarzilaiBorwein(_Described):
    """⟨s, s⟩ / ⟨s, y⟩ for the last move s and the change of gradient y: the inverse of the curvature just met.

    The objective need not fall at every step, only stay below the highest of its last `memory` values.
    """

    memory: int = 10
    name: ClassVar[str] = "barzilai_borwein"

    def __post_init__(self) -> None:
        integer("memory", self.memory, least=1)

    def rule(self) -> Rule:
        """Return the rule."""
        return _BarzilaiBorweinRule(self.memory)


class _BarzilaiBorweinRule:
    SHARE = 1e-4

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.before: tuple[Any, Any] | None = None
        self.losses: list[float] = []
        self.last = 0.0

    def propose(self, xp: Any, step: int, here: Point, curvature: Callable[[], float]) -> float:  # noqa: ARG002
        if not self.losses:
            self.losses.append(float(here.loss))
        if self.before is None:
            return _inverse(curvature())
        way, change = here.parameters - self.before[0], here.gradient - self.before[1]
        length, bend = float(xp.sum(way * way)), float(xp.sum(way * change))
        return length / bend if bend > 0 and 0 < length / bend < math.inf else self.last

    def accepts(self, xp: Any, trial: Trial) -> bool:
        here, there, size, rounding = trial
        way = there.parameters - here.parameters
        loss = float(there.loss)
        accepted = bool(loss <= max(self.losses) - self.SHARE * xp.sum(way * way) / size + rounding())
        if accepted:
            self.losses = [*self.losses, loss][-self.memory :]
            self.before = here.parameters, here.gradient
            self.last = size
        return accepted

    def save(self) -> State:
        if self.before is None:
            return {}
        before, gradient = self.before
        return {
            "before": before,
            "gradient_before": gradient,
            "losses": self.losses,
            "step_size": [self.last],
        }

    def load(self, state: State) -> None:
        if "before" in state:
            self.before = state["before"], state["gradient_before"]
            self.losses = [float(loss) for loss in state["losses"]]
            self.last = float(state["step_size"][0])


#: Every name under which a rule can be asked for; a number is `Constant`.
STEP_SIZES: dict[str, type[StepSize]] = {
    "auto": Auto,
    "armijo": Armijo,
    "barzilai_borwein": BarzilaiBorwein,
}
SCHEDULES = (Constant, InverseScaling, Exponential, Cosine)
SEARCHES = (Armijo, BarzilaiBorwein)


def as_step_size(given: Any) -> StepSize:
    """Return the rule that `given` names, or is; a number > 0 is a constant."""
    if isinstance(given, (Auto, *SCHEDULES, *SEARCHES)):
        return given
    if isinstance(given, str):
        if given in STEP_SIZES:
            return STEP_SIZES[given]()
        raise InputError(
            f"learning_rate: expected a number > 0, one of {', '.join(map(repr, sorted(STEP_SIZES)))}, "
            f"or a schedule such as st.Cosine(0.1, n_steps=1000); got {given!r}"
        )
    return Constant(number("learning_rate", given, above=0.0))
