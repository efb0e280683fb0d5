"""Several targets at once: who rents the bicycles, passers-by or subscribers? Least squares with two columns of y.

Without a penalty the answer has a closed form, numpy.linalg.lstsq, and `GDRegressor` finds the same. Needs pandas.
Run it: python examples/several_targets.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

import steepest as st

TABLE = Path(__file__).parent / "bikeshare.csv"
FEATURES = ["workingday", "holiday", "temp", "hum", "windspeed"]
TARGETS = ["casual", "registered"]


def main() -> dict[str, float]:
    """Fit both targets, beside the closed form; return the largest differences."""
    table = pd.read_csv(TABLE)
    hours = pd.get_dummies(table["hr"], prefix="hour", drop_first=True, dtype=float)
    X, Y = table[FEATURES].join(hours), table[TARGETS]
    model = st.GDRegressor(penalty=None).fit(X, Y)

    with_ones = np.column_stack([X, np.ones(len(X))])
    exact = np.linalg.lstsq(with_ones, Y.to_numpy(dtype=float), rcond=None)[0]
    coef_difference = np.abs(model.coef_ - exact[:-1].T).max() / np.abs(exact).max()
    prediction_difference = np.abs(model.predict(X) - with_ones @ exact).max() / Y.to_numpy().max()

    print(f"{len(X):,} hours, {X.shape[1]} features, {model.coef_.shape[0]} targets: {model.solver_}")
    print(f"R² of both together: {model.score(X, Y):.4f}\n")
    print(f"{'bicycles an hour':18}{'passers-by':>12}{'subscribers':>13}")
    for name, (casual, registered) in zip(model.feature_names_in_[:8], model.coef_.T[:8], strict=True):
        print(f"{name:18}{casual:+12.1f}{registered:+13.1f}")
    print(f"{'…':18}\n")
    print(f"as far from numpy.linalg.lstsq as {coef_difference:.0e} of the largest coefficient,")
    print(f"and {prediction_difference:.0e} of the largest prediction")
    return {"coef_difference": coef_difference, "prediction_difference": prediction_difference}


if __name__ == "__main__":
    main()
