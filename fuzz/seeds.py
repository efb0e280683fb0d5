"""The files that the fuzzer of `files.py` begins with: models and descents of every kind, as they are written today.

``python fuzz/seeds.py FOLDER`` makes ``FOLDER/model`` and ``FOLDER/checkpoint``; needed again when a format changes.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np

import steepest as st
from steepest.training import Options, prepare, train

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(40, 3))
SCORES = X @ [1.0, -0.5, 0.25] + 0.5 * GENERATOR.normal(size=40)
CLASSES = np.array(["a", 'b"\\', "é"])[np.digitize(SCORES, [-0.5, 0.5])]
TABLE = {"größe": X[:, 0].tolist(), "kind": CLASSES.tolist(), "price": SCORES.tolist()}


def models(folder: Path) -> None:
    """Write models: lines, classes, several targets, named features, a table's columns, smaller ones."""
    import pyarrow as pa

    options = Options(n_steps=9)
    line = st.descend(X, SCORES, n_steps=9)
    classes = st.GDClassifier().fit(X, CLASSES)
    made = {
        "line": line,
        "huber": st.descend(X, SCORES, loss=st.Huber(0.5), n_steps=9),
        "targets": st.descend(X, np.c_[SCORES, -SCORES], n_steps=9),
        "classes": classes,
        "two": st.GDClassifier().fit(X, SCORES > 0),
        "pruned": st.prune(classes, X, CLASSES, n_features=2).model,
        "quantized": st.quantize(classes, X, CLASSES).model,
        "half": st.quantize(line, X, SCORES, to="float16").model,
        "table": train(prepare(pa.table(TABLE), "price", options), options).model,
    }
    for name, model in made.items():
        st.save(model, folder / name)


def checkpoints(folder: Path) -> None:
    """Write descents on their way: by every method that remembers something."""
    for method in ("gd", "momentum", "nesterov", "adam", "sgd", "lbfgs", "newton", "coordinate"):
        st.descend(X, SCORES, method=method, n_steps=4, alpha=0.1, checkpoint=folder / method)
    st.descend(X, SCORES, n_steps=4, validation_fraction=0.3, checkpoint=folder / "validated")
    st.descend(X, SCORES, n_steps=4, learning_rate=st.BarzilaiBorwein(memory=3), checkpoint=folder / "barzilai_borwein")


if __name__ == "__main__":
    warnings.simplefilter("ignore", st.ConvergenceWarning)
    for write in (models, checkpoints):
        where = Path(sys.argv[1]) / write.__name__.removesuffix("s")
        where.mkdir(parents=True, exist_ok=True)
        write(where)
