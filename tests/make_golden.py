"""Write the files that later versions must read: ``python tests/make_golden.py`` makes ``data/golden/VERSION``.

Once for each version that changes a format; a folder that is there is never written again. Beside models and
checkpoints of every kind is `expected.json`: the data, and what the version that wrote the files made of them.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import steepest as st
from steepest import checkpoint
from steepest.tensor_file import checksum, read_tensors, write_tensors
from steepest.training import Options, prepare, train

GOLDEN = Path(__file__).parent / "data" / "golden"
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(30, 3)).round(3)
SCORES = (X @ [1.0, -0.5, 0.25] + 0.5 * GENERATOR.normal(size=30)).round(3)
COUNTS = np.exp(np.minimum(SCORES, 3)).round()
CLASSES = np.array(["a", 'b"\\', "é"])[np.digitize(SCORES, [-0.5, 0.5])]
TABLE = {"größe": X[:, 0].tolist(), "kind": CLASSES.tolist(), "price": SCORES.tolist()}
#: Steps that a checkpoint has, and that a descent has which went on with it.
N_WRITTEN, N_STEPS = 4, 9
#: Of each checkpoint, the name of y and the options of its descent.
DESCENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "gd": ("scores", {"method": "gd"}),
    "momentum": ("scores", {"method": "momentum"}),
    "nesterov": ("counts", {"method": "nesterov", "loss": "poisson", "alpha": 0.1, "l1_ratio": 0.5}),
    "adam": ("scores", {"method": "adam", "learning_rate": 0.05, "precondition": True}),
    "sgd": ("classes", {"method": "sgd", "loss": "log_loss", "batch_size": 12, "random_state": 3}),
    "lbfgs": ("classes", {"method": "lbfgs", "loss": "log_loss", "alpha": 0.01}),
    "newton": ("classes", {"method": "newton", "loss": "log_loss", "alpha": 0.01}),
    "coordinate": ("scores", {"method": "coordinate", "alpha": 0.1, "l1_ratio": 0.9, "tol": 0.0}),
    "barzilai_borwein": ("scores", {"method": "gd", "learning_rate": "barzilai_borwein"}),
    "validated": ("scores", {"method": "gd", "validation_fraction": 0.3, "random_state": 3}),
}


def models() -> dict[str, tuple[Any, Any]]:
    """Return a model of each kind, and rows for it."""
    options = Options(n_steps=9)
    table = pa.table(TABLE)
    line = st.descend(X, SCORES, n_steps=9)
    classes = st.GDClassifier().fit(X, CLASSES)
    return {
        "line": (line, X),
        "huber": (st.descend(X, SCORES, loss=st.Huber(0.5), n_steps=9), X),
        "counts": (st.descend(X, COUNTS, loss="poisson", n_steps=9), X),
        "named": (st.descend(pa.table(dict(zip("äbc", X.T, strict=True))), SCORES, n_steps=9), X),
        "targets": (st.descend(X, np.c_[SCORES, -SCORES], n_steps=9), X),
        "classes": (classes, X),
        "two": (st.GDClassifier().fit(X, SCORES > 0), X),
        "pruned": (st.prune(classes, X, CLASSES, n_features=2).model, X),
        "int8": (st.quantize(classes, X, CLASSES).model, X),
        "float16": (st.quantize(line, X, SCORES, to="float16").model, X),
        "table": (train(prepare(table, "price", options), options).model, table),
    }


def without_validation(path: Path) -> None:
    """Make a checkpoint one of the first format, from before there could be validation data."""
    tensors, metadata = read_tensors(path)
    header = json.loads(metadata[checkpoint.HEADER])
    del header["validation_loss"]
    text = json.dumps(header | {"format_version": checkpoint.WITHOUT_VALIDATION})
    tensors = {name: values.copy() for name, values in tensors.items()}
    write_tensors(path, tensors, {checkpoint.HEADER: text, checkpoint.CHECKSUM: checksum(text, tensors)})


def write(folder: Path) -> None:
    """Write all files."""
    y = {"scores": SCORES, "counts": COUNTS, "classes": CLASSES}
    expected: dict[str, Any] = {
        "X": X.tolist(),
        "y": {name: values.tolist() for name, values in y.items()},
        "table": TABLE,
        "predictions": {},
        "descents": {},
    }
    for name, (model, rows) in models().items():
        st.save(model, folder / f"{name}.model")
        expected["predictions"][name] = st.load(folder / f"{name}.model").predict(rows).tolist()
    for name, (target, options) in DESCENTS.items():
        path = folder / f"{name}.checkpoint"
        begun = st.descend(X, y[target], n_steps=N_WRITTEN, checkpoint=path, **options)
        whole = st.descend(X, y[target], n_steps=N_STEPS, **options)
        expected["descents"][name] = {
            "y": target,
            "options": options,
            "written": begun.n_steps,
            "n_steps": whole.n_steps,
            "history": begun.history.loss.tolist(),
            "parameters": whole.parameters.tolist(),
        }
    shutil.copy(folder / "gd.checkpoint", folder / "first_format.checkpoint")
    without_validation(folder / "first_format.checkpoint")
    expected["descents"]["first_format"] = expected["descents"]["gd"]
    text = json.dumps(expected, ensure_ascii=False)
    (folder / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as made:
        write(Path(made))
        shutil.copytree(made, GOLDEN / st.__version__)
