"""Counts: how many bicycles are rented in an hour? Poisson regression, whose coefficients multiply.

8,645 hours of Washington's bicycle rental: the hour, the season, the weather. Needs pandas.
Run it: python examples/counts.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import PoissonRegressor
from sklearn.metrics import mean_poisson_deviance
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import steepest as st

TABLE = Path(__file__).parent / "bikeshare.csv"
CODES = ["season", "hr", "weekday"]
NUMBERS = ["holiday", "temp", "hum", "windspeed"]
ALPHA = 1e-4


def main() -> dict[str, float]:
    """Fit, compare, read the coefficients; return the figures that are printed."""
    table = pd.read_csv(TABLE)
    X_train, X_test, y_train, y_test = train_test_split(
        table[CODES + NUMBERS], table["bikers"], test_size=0.25, random_state=0
    )
    model = pipeline(st.GDRegressor("poisson", alpha=ALPHA)).fit(X_train, y_train)
    reference = pipeline(PoissonRegressor(alpha=ALPHA, solver="newton-cholesky")).fit(X_train, y_train)
    deviance = mean_poisson_deviance(y_test, model.predict(X_test))
    reference_deviance = mean_poisson_deviance(y_test, reference.predict(X_test))
    constant_deviance = mean_poisson_deviance(y_test, np.full(len(y_test), y_train.mean()))
    print(f"mean Poisson deviance on {len(y_test):,} hours held out")
    print(f"  GDRegressor       {deviance:8.4f}    {model[-1].solver_}, {model[-1].n_iter_} steps")
    print(f"  PoissonRegressor  {reference_deviance:8.4f}")
    print(f"  their mean        {constant_deviance:8.4f}\n")

    names = model[0].get_feature_names_out()
    effect = dict(zip(names, np.exp(model[-1].coef_), strict=True))
    print("an hour multiplies the bicycles, compared with midnight, by")
    for hour in range(0, 24, 2):
        factor = effect.get(f"hr_{hour}", 1.0)
        print(f"  {hour:2} h  {factor:5.2f}  {'█' * round(4 * factor)}")
    print(f"\nfull humidity multiplies them by {effect['hum']:.2f}, a holiday by {effect['holiday']:.2f}")
    return {"deviance": deviance, "reference_deviance": reference_deviance, "constant_deviance": constant_deviance}


def pipeline(regressor: object) -> object:
    """Return one-hot codes and the numbers as they are, then the regressor."""
    columns = make_column_transformer(
        (OneHotEncoder(drop="first", sparse_output=False), CODES),
        ("passthrough", NUMBERS),
        verbose_feature_names_out=False,
    )
    return make_pipeline(columns, regressor)


if __name__ == "__main__":
    main()
