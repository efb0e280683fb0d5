"""What can go wrong, each with the cure in its message.

Every error is a `SteepestError` and also the built-in that it resembles, so ``except ValueError`` works.
"""

from __future__ import annotations


class SteepestError(Exception):
    """Base of all errors that this package raises on purpose."""


class InputError(SteepestError, ValueError):
    """An argument is not what it should be; the message names it, what was expected, and what was given."""


class InternalError(SteepestError, RuntimeError):
    """A bug in steepest; the message names the place. The process goes on, and so may other fits. Please report it."""


class ModelFileError(SteepestError, ValueError):
    """A model file cannot be read or does not hold a valid model."""


class CheckpointError(SteepestError, ValueError):
    """A checkpoint cannot be read or does not hold a descent that could go on."""


class BackendUnavailableError(SteepestError, RuntimeError):
    """The backend that was asked for cannot run here; the message says why and what to do."""


class MissingPackageError(SteepestError, ImportError):
    """A package that only this feature needs is not installed; the message says how to get it."""


class ClusterError(SteepestError, RuntimeError):
    """A cluster cannot be reached, or cannot read a partition; the message names it."""


class DivergenceError(SteepestError, ArithmeticError):
    """The descent left the finite numbers.

    Attributes
    ----------
    step : int
        Steps made before the loss or its gradient was no longer finite.
    step_size : float
        The step size in use; 0.0 if no step was made.
    safe_step_size : float
        1/L, where L bounds the curvature; 0.0 if there is no such step size.
    """

    def __init__(self, message: str, *, step: int, step_size: float, safe_step_size: float) -> None:
        super().__init__(message)
        self.step = step
        self.step_size = step_size
        self.safe_step_size = safe_step_size


class IllConditionedWarning(UserWarning):
    """Few digits of the coefficients mean anything.

    The columns of X all but determine each other, or their scales and distances from zero hide some of them.
    """


class ConvergenceWarning(UserWarning):
    """The descent ended before it reached its tolerance, or where the loss is higher than at the start."""
