"""Linear models by gradient descent: least squares, logistic and softmax regression, on every core.

The map, in the order of imports (a module uses only modules above it; a test enforces it):

==================  =====================================================================
`errors`            what can go wrong, with the cure
`validation`        arrays in, checked
`losses`            ℓ(y, z) and its derivative
`penalties`         functions of the coefficients
`methods`           what to do with a gradient, how far to go
`problem`           problem, plan, solution: the descriptions that backends share
`backends`          ``rust`` (the compiled core), ``array`` (any namespace), ``spectrum``
`result`, `plot`,   what a descent returns; its picture; its progress bar
`progress`
`descend`           the façade: `descend`, `loss_and_gradient`
`metrics`           how good a model is
`preprocessing`     tables to matrices: one-hot, scales
`data`              files to tables
`model`, `model_io` a model of a table, with its preprocessing; saved and loaded
`training`          a table to a model: what ``steepest fit`` does
`report`, `cli`     what the command line shows; the command line
==================  =====================================================================
"""

from steepest._steepest import __version__
from steepest.backends import show_backends
from steepest.descend import descend, loss_and_gradient
from steepest.errors import (
    BackendUnavailableError,
    ConvergenceWarning,
    DivergenceError,
    InputError,
    MissingPackageError,
    ModelFileError,
    SteepestError,
)
from steepest.problem import StepInfo
from steepest.result import Fit, History

__all__ = [
    "BackendUnavailableError",
    "ConvergenceWarning",
    "DivergenceError",
    "Fit",
    "History",
    "InputError",
    "MissingPackageError",
    "ModelFileError",
    "SteepestError",
    "StepInfo",
    "__version__",
    "descend",
    "loss_and_gradient",
    "show_backends",
]
