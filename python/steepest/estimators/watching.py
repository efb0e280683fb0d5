"""What is told while an estimator fits: lines on the terminal, and scikit-learn's callbacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

try:
    from sklearn import callback
except ImportError:
    # scikit-learn before 1.9 has no callbacks.
    callback = None

if TYPE_CHECKING:
    from steepest.estimators.base import LinearEstimator
    from steepest.problem import StepInfo
    from steepest.result import Fit
    from steepest.setup import Setup

_Method = TypeVar("_Method", bound=Callable[..., Any])
#: What gives an estimator `set_callbacks`, where scikit-learn has it.
CallbackSupportMixin: type = type("NoCallbacks", (), {}) if callback is None else callback.CallbackSupportMixin


def with_callbacks(method: _Method) -> _Method:
    """Return a method of an estimator that sees to it that callbacks are taken down when it ends, however it ends."""
    watched: _Method = method if callback is None else callback.with_callbacks(method)
    return watched


class Printed:
    """A line on standard output at steps 0, 1, 2, 5, 10, 20, 50, …, or at every step."""

    def __init__(self, title: str, *, every_step: bool) -> None:
        self.title, self.every_step = title, every_step
        self.due = 0

    def __call__(self, info: StepInfo) -> None:
        """Print the line, if it is due."""
        if info.step < self.due:
            return
        self.due = info.step + 1 if self.every_step else _next_round(info.step)
        validation = "" if info.validation_loss != info.validation_loss else f"   validation {info.validation_loss:.6g}"
        print(  # noqa: T201
            f"{self.title} step {info.step:>7,}   loss {info.loss:.6g}   gradient norm {info.gradient_norm:.2e}"
            f"{validation}   {info.seconds:.2f} s"
        )

    def end(self, fit: Fit) -> None:
        """Print how the descent ended."""
        print(f"{self.title} step {fit.n_steps:>7,}   loss {fit.loss:.6g}   {fit.message}")  # noqa: T201


def _next_round(step: int) -> int:
    """Return the first of 1, 2, 5, 10, 20, 50, … that is beyond `step`."""
    power = 1
    while True:
        for digit in (1, 2, 5):
            if digit * power > step:
                return digit * power
        power *= 10


class Watched:
    """The steps of a descent as tasks of scikit-learn's callbacks: one task a step, under one for the fit.

    A callback that asks for the estimator as it is after a step gets it by making the steps since it last asked once
    more, bit for bit: a descent that is scored at every step takes twice as long, one that only shows a bar does not.
    """

    def __init__(self, estimator: LinearEstimator, setup: Setup, n_tasks: int, data: dict[str, Any]) -> None:
        self.estimator, self.setup, self.data = estimator, setup, data
        self.reached = (0, setup.start, setup.state)
        self.context = estimator._init_callback_context(max_subtasks=n_tasks)  # noqa: SLF001 (the protocol's own name)
        self.context.call_on_fit_task_begin(estimator=estimator, **self.data)
        self.step: Any = None

    def __call__(self, info: StepInfo) -> object:
        """End the task of the last step and begin that of the next; return whether a callback asks to stop."""
        stop = self._end_step(info.step)
        self.step = self.context.subcontext(task_name="step")
        self.step.call_on_fit_task_begin(estimator=self.estimator, **self.data)
        return stop

    def _end_step(self, n_made: int) -> object:
        step, self.step = self.step, None
        if step is None:
            return None
        return step.call_on_fit_task_end(
            estimator=self.estimator, **self.data, reconstruction_attributes=lambda: self._fitted_by(n_made)
        )

    def _fitted_by(self, n_steps: int) -> dict[str, Any]:
        """Return what an estimator has that is fitted by so many steps."""
        n_before, start, state = self.reached
        problem, plan = self.setup.problem, self.setup.plan
        plan = replace(plan, n_steps=n_steps - n_before, tol=0.0, max_seconds=None, target_loss=None)
        solution = self.setup.engine.minimise(problem, None, plan, start, state, None)
        self.reached = (n_steps, solution.parameters, solution.state)
        return self.estimator._attributes(problem, *problem.unflatten(solution.parameters))  # noqa: SLF001

    def end(self, fit: Fit) -> None:
        """End the last step and the fit; the estimator is fitted by now."""
        self._end_step(fit.n_steps)
        self.context.call_on_fit_task_end(estimator=self.estimator, **self.data, reconstruction_attributes=dict)


def all_of(watchers: list[Any]) -> Callable[[StepInfo], object] | None:
    """Return a callback that asks every watcher, or None if there is none: a descent that nobody watches is faster."""
    if not watchers:
        return None
    return lambda info: any([watcher(info) for watcher in watchers])  # noqa: C419 (each is asked)
