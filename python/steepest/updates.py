"""The updates of the methods of first order in their portable form; the fast form is in ``src/method``.

An update has a memory, so each descent has its own.
"""
# ruff: noqa: D102 - `Update` says what each does.

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from steepest.methods import Adam

    #: (parameters, size) → argmin_v ½ ‖v − parameters‖² / size + rough part; the size may differ between parameters.
    Prox = Callable[[Any, Any], Any]


class Update(Protocol):
    """A method of first order in its portable form."""

    def see(self, xp: Any, gradient: Any) -> None:
        """Learn a gradient, once a step, before any target."""

    def target(self, xp: Any, point: Any, gradient: Any, size: float, prox: Prox) -> Any:
        """Return where a step of this size leads."""

    def rest(self, xp: Any, point: Any) -> bool:
        """Give up what a step from `point` would carry on of those before; return False if there is nothing left."""

    def commit(self, point: Any) -> None:
        """Know that the last target is taken, from `point`."""

    def save(self) -> dict[str, Any]:
        """Return what the update must remember to go on."""

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what was remembered."""


class GradientUpdate:
    """Gradient descent: nothing to remember."""

    def see(self, xp: Any, gradient: Any) -> None:
        pass

    def target(self, xp: Any, point: Any, gradient: Any, size: float, prox: Prox) -> Any:  # noqa: ARG002
        return prox(point - size * gradient, size)

    def rest(self, xp: Any, point: Any) -> bool:  # noqa: ARG002
        return False

    def commit(self, point: Any) -> None:
        pass

    def save(self) -> dict[str, Any]:
        return {}

    def load(self, state: dict[str, Any]) -> None:
        pass


class HeavyBallUpdate:
    """The last move is added inside the proximal map.

    A velocity made of gradients would be multiplied by 1 / (1 − β) where it settles, the map's threshold would not.
    """

    def __init__(self, momentum: float) -> None:
        self.momentum = momentum
        self.before: Any = None

    def see(self, xp: Any, gradient: Any) -> None:
        pass

    def target(self, xp: Any, point: Any, gradient: Any, size: float, prox: Prox) -> Any:  # noqa: ARG002
        before = point if self.before is None else self.before
        return prox(point - size * gradient + self.momentum * (point - before), size)

    def rest(self, xp: Any, point: Any) -> bool:
        moved = self.before is not None and bool(xp.any(self.before != point))
        self.before = point
        return moved

    def commit(self, point: Any) -> None:
        self.before = point

    def save(self) -> dict[str, Any]:
        return {} if self.before is None else {"previous": self.before}

    def load(self, state: dict[str, Any]) -> None:
        self.before = state.get("previous")


class AcceleratedUpdate:
    """Accelerated proximal gradient with restart: x, and the t of its momentum."""

    def __init__(self) -> None:
        # A number, or an array without dimensions: where it is computed on a GPU nobody waits for it.
        self.t: Any = 1.0
        self.x: Any = None
        self.following: tuple[Any, Any] = (1.0, None)

    def see(self, xp: Any, gradient: Any) -> None:
        pass

    def target(self, xp: Any, point: Any, gradient: Any, size: float, prox: Prox) -> Any:
        x = point if self.x is None else self.x
        new = prox(point - size * gradient, size)
        t = xp.asarray(self.t, dtype=new.dtype)
        t = xp.where(xp.sum((point - new) * (new - x)) > 0, xp.ones_like(t), t)
        following = 0.5 * (1.0 + (1.0 + 4.0 * t * t) ** 0.5)
        self.following = following, new
        return new + (t - 1.0) / following * (new - x)

    def rest(self, xp: Any, point: Any) -> bool:
        moved = self.t > 1 or (self.x is not None and bool(xp.any(self.x != point)))
        self.t, self.x = 1.0, point
        return moved

    def commit(self, point: Any) -> None:  # noqa: ARG002
        self.t, self.x = self.following

    def save(self) -> dict[str, Any]:
        return {"t": [self.t]} if self.x is None else {"t": [self.t], "previous": self.x}

    def load(self, state: dict[str, Any]) -> None:
        self.t, self.x = float(state.get("t", [1.0])[0]), state.get("previous")


class AdamUpdate:
    """Adam: running means of the gradient and of its square."""

    def __init__(self, adam: Adam) -> None:
        self.adam = adam
        self.n_seen = 0
        self.mean: Any = 0.0
        self.square: Any = 0.0

    def see(self, xp: Any, gradient: Any) -> None:  # noqa: ARG002
        beta1, beta2 = self.adam.beta1, self.adam.beta2
        self.n_seen += 1
        self.mean = beta1 * self.mean + (1 - beta1) * gradient
        self.square = beta2 * self.square + (1 - beta2) * (gradient * gradient)

    def target(self, xp: Any, point: Any, gradient: Any, size: float, prox: Prox) -> Any:  # noqa: ARG002
        mean_bias, square_bias = self.adam.biases(self.n_seen)
        own_size = size / (xp.sqrt(self.square / square_bias) + self.adam.epsilon)
        return prox(point - own_size * (self.mean / mean_bias), own_size)

    def rest(self, xp: Any, point: Any) -> bool:  # noqa: ARG002
        return False

    def commit(self, point: Any) -> None:
        pass

    def save(self) -> dict[str, Any]:
        if not self.n_seen:
            return {}
        return {"n_seen": [self.n_seen], "mean": self.mean, "square": self.square}

    def load(self, state: dict[str, Any]) -> None:
        if "n_seen" in state:
            self.n_seen = int(state["n_seen"][0])
            self.mean, self.square = state["mean"], state["square"]
