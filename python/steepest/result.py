"""What a descent returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from steepest.losses import Loss
    from steepest.methods import Method
    from steepest.penalties import ElasticNet
    from steepest.step_sizes import StepSize


@dataclass(frozen=True, eq=False, repr=False)
class History:
    """What was known before each step; every array has one entry a step that was made, mini-batches one an epoch.

    Attributes
    ----------
    step : ndarray of int64
        The number of steps already made: 0, 1, 2, …, or every so many for mini-batches.
    loss : ndarray of float64
        ``loss[k]`` is F after k steps, before step k + 1.
    gradient_norm : ndarray of float64
        ‖∇F‖₂ there, over coefficients and intercept; with an ℓ1 part, that of the proximal gradient mapping.
    step_size : ndarray of float64
        The size of step k + 1.
    seconds : ndarray of float64
        Since the start of the descent.
    validation_loss : ndarray of float64
        Average loss over the validation data there; nan where there is none.
    """

    step: NDArray[np.int64]
    loss: NDArray[np.float64]
    gradient_norm: NDArray[np.float64]
    step_size: NDArray[np.float64]
    seconds: NDArray[np.float64]
    validation_loss: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.step)

    def __repr__(self) -> str:
        if not len(self):
            return "History(0 steps)"
        return f"History({len(self)} steps, loss {self.loss[0]:.6g} → {self.loss[-1]:.6g})"


class Step(NamedTuple):
    """Where a descent is, as `iterate` tells it."""

    step: int
    loss: float
    gradient_norm: float
    step_size: float
    coef: NDArray[Any]
    intercept: Any


class Recipe(NamedTuple):
    """What two descents share of which one can go on where the other ended."""

    loss: Loss
    penalty: ElasticNet
    fit_intercept: bool
    precondition: bool
    shape: tuple[int, ...]
    dtype: str
    method: Method
    step_size: StepSize
    seed: int
    strategy: str
    fingerprint: int


@dataclass(frozen=True, eq=False, repr=False)
class Fit:
    """A fitted linear model and how it was found.

    Attributes
    ----------
    coef : ndarray
        (n_features,), or (k, n_features) for k targets or more than two classes; in the units and dtype of X.
    intercept : numpy scalar or ndarray
        One number, or (k,); 0 where none was fitted.
    loss : float
        F at `coef` and `intercept`, penalty included.
    gradient_norm : float
        ‖∇F‖₂ there.
    validation_loss : float or None
        The average loss over the validation data there, if there was any.
    n_steps : int
        Steps made.
    seconds : float
        The time that the descent took.
    status : str
        A key of `steepest.problem.STATUSES`: "converged", "max_steps", "max_seconds", "target_loss", "early_stopped",
        "stalled", "stopped". How the descent ended; `message` has the sentence.
    converged : bool
        Whether the tolerance that was asked for was reached.
    history : History
        The way there.
    classes : ndarray or None
        The labels, in the order of the class numbers.
    feature_names : list of str or None
        The columns of X, if it was a frame.
    backend, method, strategy : str
        What did it.
    reason : str
        Why this method.
    condition : float or None
        With ``strategy="gram"``, an estimate of the condition number of the normal equations, the penalty included and
        the columns of X brought to one scale; infinite where they do not determine the coefficients.
    parameters : ndarray of float64
        Coefficients by rows, then the intercept if one was fitted: what a descent that starts here goes on from.
    state, recipe
        What a descent of the same recipe must remember to go on as if it had never stopped.
    """

    coef: NDArray[Any]
    intercept: Any
    loss: float
    gradient_norm: float
    validation_loss: float | None
    n_steps: int
    seconds: float
    status: str
    message: str
    history: History
    classes: NDArray[Any] | None
    feature_names: list[str] | None
    loss_name: str
    backend: str
    method: str
    reason: str
    strategy: str
    condition: float | None
    parameters: NDArray[np.float64]
    state: dict[str, NDArray[np.float64]]
    recipe: Recipe

    @property
    def converged(self) -> bool:
        """Whether the tolerance that was asked for was reached."""
        return self.status == "converged"

    def __repr__(self) -> str:
        return (
            f"Fit({self.loss_name} {self.loss:.6g} after {self.n_steps} steps of {self.method}: "
            f"{self.message}; backend {self.backend})"
        )

    def plot(self, ax: Any = None) -> Any:
        """Draw the loss against the step, on a logarithmic scale where it spans more than a factor of 20.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes

        Examples
        --------
        >>> import steepest as st
        >>> fit = st.descend([0.0, 1.0, 2.0], [1.0, 3.0, 5.0], n_steps=50)
        >>> fit.plot().get_xlabel()
        'step'
        """
        from steepest.curves import plot_loss

        return plot_loss(self, ax=ax)
