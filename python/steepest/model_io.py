"""A model as a file: safetensors, with a JSON description of everything that is not numbers.

Loading reads numbers and text; it never runs code, and checks every byte. It needs NumPy alone, unless the model is of
a table.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.data import written_whole
from steepest.errors import InputError, ModelFileError
from steepest.losses import LOSSES, LogLoss, SquaredHinge
from steepest.model import LinearModel, as_model
from steepest.tensor_file import read_tensors, write_tensors

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import NDArray

FORMAT_VERSION = 1
HEADER, CHECKSUM = "steepest", "sha256"
NUMBERS = ("coef", "intercept")
#: What a model may have besides: names are bytes, since there may be very many.
EXTRAS = ("kept", "scale", "feature_names")


def save(model: Any, path: str | PathLike[str]) -> None:
    """Write a model to a file, all of it or nothing.

    Parameters
    ----------
    model : LinearModel, Fit, GDRegressor or GDClassifier
        A fitted one. Coefficients, labels, names, preprocessing and how it was trained are written; no code, no pickle.
    path : path-like
        A safetensors file; by custom the name ends so.

    Raises
    ------
    InputError
        If it is not such a model, or its labels are neither text nor numbers.
    OSError
        If the file cannot be written; an old one is then left as it was.

    Examples
    --------
    >>> import steepest as st
    >>> fit = st.descend([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0], method="newton", n_steps=9)
    >>> st.save(fit, "line.safetensors")
    >>> st.load("line.safetensors").predict([[3.0]]).round(6)
    array([7.])
    """
    model = as_model(model)
    description = json.dumps(_describe(model), ensure_ascii=False)
    tensors = {name: np.ascontiguousarray(getattr(model, name)) for name in NUMBERS}
    for name in ("kept", "scale"):
        if getattr(model, name) is not None:
            tensors[name] = np.ascontiguousarray(getattr(model, name))
    if model.feature_names is not None and model.encoder is None:
        tensors["feature_names"] = _as_bytes(model.feature_names)
    with written_whole(path) as temporary:
        write_tensors(temporary, tensors, {HEADER: description, CHECKSUM: checksum(description, tensors)})


def _describe(model: LinearModel) -> dict[str, Any]:
    for label in model.classes or []:
        if not isinstance(label, (str, int, float)):
            raise InputError(f"classes: expected labels that are text or numbers; got {label!r}")
    return {
        "format_version": FORMAT_VERSION,
        "loss": model.loss,
        "target": model.target,
        "classes": model.classes,
        "columns": None if model.encoder is None else model.encoder.to_json(),
        "n_features": model.n_features,
        "training": model.training,
    }


def _as_bytes(names: list[str]) -> NDArray[np.uint8]:
    if any("\0" in name for name in names):
        raise InputError("feature_names: expected names without the character \\0")
    return np.frombuffer("\0".join(names).encode(), np.uint8)


def checksum(description: str, tensors: dict[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of all that a model is."""
    digest = hashlib.sha256(description.encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def load(path: str | PathLike[str]) -> LinearModel:
    """Read a model that `save` wrote.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    LinearModel
        With `predict`, `predict_proba`, `decision_function`. NumPy is all that it needs; a model of a table needs
        narwhals too.

    Raises
    ------
    ModelFileError
        If the file is not there, is not such a file, is damaged, is of a newer format, or does not hold a finite model.

    Examples
    --------
    >>> import steepest as st
    >>> st.load("no.safetensors")
    Traceback (most recent call last):
        ...
    steepest.errors.ModelFileError: no.safetensors: there is no such model file
    """
    try:
        tensors, metadata = read_tensors(path)
        description = metadata[HEADER]
        header = json.loads(description)
    except FileNotFoundError:
        raise ModelFileError(f"{path}: there is no such model file") from None
    except (OSError, KeyError, TypeError, ValueError, RecursionError, OverflowError, MemoryError) as error:
        raise ModelFileError(f"{path}: not a steepest model file ({error})") from error
    version = header.get("format_version") if isinstance(header, dict) else None
    if version != FORMAT_VERSION:
        newer = isinstance(version, int) and version > FORMAT_VERSION
        cure = "; a newer steepest wrote it: pip install --upgrade steepest" if newer else ""
        raise ModelFileError(f"{path}: format version {version}; this steepest reads {FORMAT_VERSION}{cure}")
    if metadata.get(CHECKSUM) != checksum(description, tensors):
        raise ModelFileError(f"{path}: the checksum does not match: the file is damaged or was changed")
    try:
        return _model(header, tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path}: the description does not hold together ({error})") from error


def _model(header: dict[str, Any], tensors: dict[str, Any]) -> LinearModel:
    strange = set(tensors) - {*NUMBERS, *EXTRAS}
    if strange:
        raise ValueError(f"unknown tensor {min(strange)!r}")
    loss, classes, n_features = header["loss"], header["classes"], header["n_features"]
    if loss not in LOSSES:
        raise ValueError(f"unknown loss {loss!r}")
    if (classes is None) == (LOSSES[loss] in {LogLoss, SquaredHinge}):
        raise ValueError(f"classes {classes!r} do not go with loss {loss!r}")
    if classes is not None:
        _expect_different("classes", classes, (str, int, float), 2)
    encoder = None if header["columns"] is None else _encoder(header["columns"])
    names = None
    if "feature_names" in tensors:
        names = tensors["feature_names"].astype(np.uint8, casting="safe").tobytes().decode().split("\0")
    elif encoder is not None:
        names = encoder.feature_names
    if not (isinstance(n_features, int) and n_features > 0) or (names is not None and len(names) != n_features):
        raise ValueError(f"n_features: {n_features!r} does not go with the names")
    model = LinearModel(
        loss=loss,
        target=str(header["target"]),
        classes=classes,
        encoder=encoder,
        coef=tensors["coef"],
        intercept=tensors["intercept"],
        training=dict(header["training"]),
        feature_names=names,
        n_features=n_features,
        kept=tensors.get("kept"),
        scale=tensors.get("scale"),
    )
    _check_numbers(model)
    return model


def _encoder(columns: Any) -> Any:
    from steepest.preprocessing import Categorical, Encoder

    encoder = Encoder.from_json(columns)
    _expect_different("column names", encoder.column_names, (str,), 1)
    for column in encoder.columns:
        if isinstance(column, Categorical):
            _expect_different(f"levels of {column.name!r}", list(column.levels), (str,), 1)
    return encoder


def _check_numbers(model: LinearModel) -> None:
    """Raise an error unless shapes and types go together and every number is finite."""
    coef, intercept, kept, scale = model.coef, model.intercept, model.kept, model.scale
    n_columns = model.n_features
    if kept is not None:
        n_columns = len(kept)
        rising = kept.ndim == 1 and kept.dtype == np.int64 and bool((np.diff(kept) > 0).all())
        if not rising or not n_columns or kept[0] < 0 or kept[-1] >= model.n_features:
            raise ValueError("kept: expected rising numbers of features")
    single = LOSSES[model.loss].__name__ not in {"Mse", "LogLoss"} or (model.classes and len(model.classes) == 2)  # noqa: PLR2004
    width = 1 if single else len(model.classes) if model.classes else intercept.size
    stored = {np.dtype(np.int8)} if scale is not None else {np.dtype(np.float16), intercept.dtype}
    for name, tensor, shape, dtypes in (
        ("intercept", intercept, (width,), {np.dtype(np.float32), np.dtype(np.float64)}),
        ("coef", coef, (width, n_columns), stored),
        ("scale", scale, (width,), {intercept.dtype}),
    ):
        if tensor is None:
            continue
        if tensor.shape != shape or tensor.dtype not in dtypes or not width:
            expected = " or ".join(sorted(map(str, dtypes)))
            raise ValueError(f"{name}: expected {expected} {shape}; got {tensor.dtype} {tensor.shape}")
        if not np.isfinite(tensor).all():
            raise ValueError(f"{name}: not finite")


def _expect_different(what: str, given: Any, kinds: tuple[type, ...], least: int) -> None:
    """Raise an error unless `given` is a list of at least `least` different values of `kinds`."""
    right = isinstance(given, list) and len(given) >= least and all(isinstance(value, kinds) for value in given)
    if not right or len(set(given)) < len(given):
        raise ValueError(f"{what}: expected at least {least} different values; got {str(given)[:80]}")
