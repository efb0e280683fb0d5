"""Linear models by gradient descent: least squares, logistic regression and their kin, on every core.

The map, in the order of imports (a module uses only modules above it; a test enforces it):

==================  =====================================================================
`errors`            what can go wrong, with the cure
`validation`        arrays in, checked
`threads`           how many threads, and who may say so
`tables`, `data`    frames and foreign arrays in; files to tables
`losses`            ℓ(y, z) and its derivative
`penalties`         functions of the coefficients
`step_sizes`        how far to go
`updates`, `methods` what to do with a gradient: the steps; the descriptions
`batches`           the rows of each mini-batch
`design`            the design matrix in: dense or sparse
`problem`           problem, plan, solution: the descriptions that backends share
`moments`           second moments of rows: all of them that least squares needs
`blocks`            rows in blocks, wherever they lie: two verbs
`survey`            what must be known of all blocks before the first step
`backends`          ``rust`` (the compiled core), ``array`` (any namespace: ``objective``, ``least_squares``, ``loop``,
                    ``line_search``, ``coordinate``),
                    ``blocks`` (one of these on each block),
                    ``cupy`` (GPUs: ``device``, ``kernels``, ``resident``, ``streamed``, ``../cuda``)
`result`, `curves`, what a descent returns; the picture of its loss; its progress bar
`progress`
`choice`            ``"auto"``: the cost model
`files`             files written whole or not at all
`tensor_file`       the safetensors format
`checkpoint`        a descent on its way, as a file
`distributed`       rows on a cluster of Dask: the only home of Dask
`sources`           files in pieces: ``arrays``, ``tables``, ``sparse``
`streams`           data beyond memory: blocks that are read ahead
`setup`, `outcome`  arguments in, each checked; errors and warnings out
`segments`          a descent that is written down as it goes
`descend`           the façade: `descend`, `iterate`, `loss_and_gradient`
`statistics`        sufficient statistics of least squares, part by part
`surface`           the objective on a plane, for pictures
`estimators`        `GDRegressor` and `GDClassifier`, for scikit-learn
`metrics`           how good a model is
`preprocessing`     tables to matrices: one-hot, scales
`model`, `model_io` a linear model by itself; saved and loaded
`compression`       smaller models, with what it costs
`onnx_nodes`,       models as ONNX: the nodes of a graph; inside scikit-learn's pipelines; by themselves
`onnx_pipeline`,
`onnx_export`
`plot`              pictures of descents and models
`training`          a table to a model: what ``steepest fit`` does
`report`, `cli`     what the command line shows; the command line
==================  =====================================================================
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

# First, because it refuses an interpreter beside the main one: the end of that would be taken for the program's.
import numpy as _numpy  # noqa: F401, ICN001

try:
    from steepest._steepest import __version__
except ValueError as error:
    # STEEPEST_ISA asks for what is not there. The command line imports this before it can turn errors into a line.
    if Path(*sys.argv[:1]).stem == "steepest" or " -m steepest " in f"{' '.join(sys.orig_argv)} ":
        raise SystemExit(f"error: {error}") from None
    raise
from steepest.backends import show_backends
from steepest.checkpoint import Checkpoint
from steepest.descend import descend, iterate, loss_and_gradient
from steepest.errors import (
    BackendUnavailableError,
    CheckpointError,
    ClusterError,
    ConvergenceWarning,
    DivergenceError,
    IllConditionedWarning,
    InputError,
    InternalError,
    MissingPackageError,
    ModelFileError,
    SteepestError,
)
from steepest.losses import Huber, LogLoss, Mse, Poisson, SquaredHinge
from steepest.methods import (
    Adam,
    CoordinateDescent,
    GradientDescent,
    Lbfgs,
    Momentum,
    Nesterov,
    Newton,
    StochasticGradientDescent,
)
from steepest.problem import StepInfo
from steepest.result import Fit, History, Step
from steepest.statistics import SufficientStatistics
from steepest.step_sizes import Armijo, Auto, BarzilaiBorwein, Constant, Cosine, Exponential, InverseScaling
from steepest.threads import get_num_threads, set_num_threads

if TYPE_CHECKING:
    from steepest import plot
    from steepest.compression import prune, quantize
    from steepest.estimators import GDClassifier, GDRegressor
    from steepest.model import LinearModel
    from steepest.model_io import load, save
    from steepest.onnx_export import to_onnx
    from steepest.onnx_pipeline import register_onnx_converter

#: What needs more than NumPy, and is imported when it is first asked for.
_LATER = {
    "GDClassifier": "steepest.estimators",
    "GDRegressor": "steepest.estimators",
    "LinearModel": "steepest.model",
    "load": "steepest.model_io",
    "plot": "steepest.plot",
    "prune": "steepest.compression",
    "quantize": "steepest.compression",
    "register_onnx_converter": "steepest.onnx_pipeline",
    "save": "steepest.model_io",
    "to_onnx": "steepest.onnx_export",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'steepest' has no attribute {name!r}")
    try:
        module = import_module(_LATER[name])
        found = module if name == "plot" else getattr(module, name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("steepest"):
            raise
        package = {"sklearn": "scikit-learn"}.get(error.name or "", error.name)
        raise MissingPackageError(f"steepest.{name} needs {package}: pip install {package}") from None
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})


__all__ = [
    "Adam",
    "Armijo",
    "Auto",
    "BackendUnavailableError",
    "BarzilaiBorwein",
    "Checkpoint",
    "CheckpointError",
    "ClusterError",
    "Constant",
    "ConvergenceWarning",
    "CoordinateDescent",
    "Cosine",
    "DivergenceError",
    "Exponential",
    "Fit",
    "GDClassifier",
    "GDRegressor",
    "GradientDescent",
    "History",
    "Huber",
    "IllConditionedWarning",
    "InputError",
    "InternalError",
    "InverseScaling",
    "Lbfgs",
    "LinearModel",
    "LogLoss",
    "MissingPackageError",
    "ModelFileError",
    "Momentum",
    "Mse",
    "Nesterov",
    "Newton",
    "Poisson",
    "SquaredHinge",
    "SteepestError",
    "Step",
    "StepInfo",
    "StochasticGradientDescent",
    "SufficientStatistics",
    "__version__",
    "descend",
    "get_num_threads",
    "iterate",
    "load",
    "loss_and_gradient",
    "plot",
    "prune",
    "quantize",
    "register_onnx_converter",
    "save",
    "set_num_threads",
    "show_backends",
    "to_onnx",
]
