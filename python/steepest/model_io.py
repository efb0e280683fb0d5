"""A model as a file: safetensors, with the description of everything else as JSON in its header.

Loading reads numbers and text; it never runs code.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.data import written_whole
from steepest.errors import ModelFileError
from steepest.losses import LOSSES, LogLoss, Mse
from steepest.model import LinearModel, n_scores
from steepest.preprocessing import Categorical, Encoder

if TYPE_CHECKING:
    from os import PathLike

FORMAT_VERSION = 1
HEADER = "steepest"


def save_model(model: LinearModel, path: str | PathLike[str]) -> None:
    """Write `model` to `path`, all of it or nothing."""
    from safetensors.numpy import save_file

    header = {
        "format_version": FORMAT_VERSION,
        "loss": model.loss,
        "target": model.target,
        "classes": model.classes,
        "columns": model.encoder.to_json(),
        "training": model.training,
    }
    tensors = {
        "coef": np.ascontiguousarray(model.coef),
        "intercept": np.ascontiguousarray(model.intercept),
    }
    with written_whole(path) as temporary:
        save_file(tensors, temporary, metadata={HEADER: json.dumps(header, ensure_ascii=False)})


def load_model(path: str | PathLike[str]) -> LinearModel:
    """Read a model that `save_model` wrote.

    Raises
    ------
    ModelFileError
        If the file is not there, is not such a file, is of a newer format, or does not hold a finite model.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})[HEADER])
            tensors = {name: file.get_tensor(name) for name in ("coef", "intercept")}
    except FileNotFoundError:
        raise ModelFileError(f"{path}: there is no such model file") from None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: not a steepest model file ({error})") from error
    version = header.get("format_version") if isinstance(header, dict) else None
    if version != FORMAT_VERSION:
        raise ModelFileError(f"{path}: format version {version}; this steepest reads {FORMAT_VERSION}")
    try:
        return _model(header, tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path}: the description does not hold together ({error})") from error


def _model(header: dict[str, Any], tensors: dict[str, Any]) -> LinearModel:
    encoder = Encoder.from_json(header["columns"])
    classes, coef, intercept = header["classes"], tensors["coef"], tensors["intercept"]
    if LOSSES.get(header["loss"]) not in {Mse, LogLoss}:
        raise ValueError(f"unknown loss {header['loss']!r}")
    if (classes is None) != (LOSSES[header["loss"]] is Mse):
        raise ValueError(f"classes {classes!r} do not go with loss {header['loss']!r}")
    if classes is not None:
        _expect_different("classes", classes, (str, int, float), 2)
    _expect_different("column names", encoder.column_names, (str,), 1)
    for column in encoder.columns:
        if isinstance(column, Categorical):
            _expect_different(f"levels of {column.name!r}", list(column.levels), (str,), 1)
    width, n_features = n_scores(classes), len(encoder.feature_names)
    for name, tensor, shape in (
        ("coef", coef, (width, n_features)),
        ("intercept", intercept, (width,)),
    ):
        if tensor.shape != shape or tensor.dtype != np.float64:
            raise ValueError(f"{name}: expected float64 {shape}; got {tensor.dtype} {tensor.shape}")
        if not np.isfinite(tensor).all():
            raise ValueError(f"{name}: not finite")
    return LinearModel(
        loss=header["loss"],
        target=str(header["target"]),
        classes=classes,
        encoder=encoder,
        coef=coef,
        intercept=intercept,
        training=dict(header["training"]),
    )


def _expect_different(what: str, given: Any, kinds: tuple[type, ...], least: int) -> None:
    """Raise an error unless `given` is a list of at least `least` different values of `kinds`."""
    right = isinstance(given, list) and len(given) >= least and all(isinstance(value, kinds) for value in given)
    if not right or len(set(given)) < len(given):
        raise ValueError(f"{what}: expected at least {least} different values; got {str(given)[:80]}")
