"""Credit risk: who will not pay next month? Probabilities that can be believed, and what class weights do to them.

A pipeline of scikit-learn's, with `GDClassifier` where LogisticRegression would stand, on 30,000 customers of a bank in
Taiwan. Needs pandas. Run it: python examples/credit_risk.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import steepest as st

TABLE = Path(__file__).parent / "credit-default.csv"
#: Columns of numbers that are codes; PAY_… says by how many months a payment was late.
CODES = ["SEX", "EDUCATION", "MARRIAGE", "PAY_0", "PAY_2", "PAY_3", "PAY_4", "PAY_5", "PAY_6"]
ALPHAS = [1e-5, 1e-3, 1e-1]


def main() -> dict[str, float]:
    """Fit, compare, calibrate; return the figures that are printed."""
    table = pd.read_csv(TABLE)
    y = table.pop("default.payment.next.month")
    X = table.drop(columns="ID").astype(dict.fromkeys(CODES, "category"))
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, stratify=y, random_state=0)

    search = GridSearchCV(pipeline(st.GDClassifier()), {"gdclassifier__alpha": ALPHAS}, scoring="roc_auc", cv=3)
    search.fit(X_train, y_train)
    probability = search.predict_proba(X_test)[:, 1]
    alpha = search.best_params_["gdclassifier__alpha"]
    auc = roc_auc_score(y_test, probability)
    # The same objective: scikit-learn's C is the inverse of alpha times the number of rows.
    reference = pipeline(LogisticRegression(C=1 / (alpha * len(y_train)), max_iter=1000)).fit(X_train, y_train)
    reference_auc = roc_auc_score(y_test, reference.predict_proba(X_test)[:, 1])
    print(f"{len(y):,} customers, {y.mean():.1%} did not pay; alpha {alpha:g} of {ALPHAS}, by cross-validation")
    print(f"AUC on {len(y_test):,} of them held out: {auc:.4f}; LogisticRegression {reference_auc:.4f}\n")

    # Class weights find more of the defaults, and make every probability too high; calibration puts them right again.
    weighted = pipeline(st.GDClassifier(alpha=alpha, class_weight="balanced"))
    calibrated = CalibratedClassifierCV(weighted, cv=3).fit(X_train, y_train)
    weighted.fit(X_train, y_train)
    probabilities = {
        "plain": probability,
        "class_weight='balanced'": weighted.predict_proba(X_test)[:, 1],
        "the same, calibrated": calibrated.predict_proba(X_test)[:, 1],
    }
    print(f"{'':24}  AUC     mean probability   defaults found at 0.5")
    figures = {"auc": auc, "reference_auc": reference_auc, "rate": float(y_test.mean())}
    for name, p in probabilities.items():
        figures[f"mean: {name}"], figures[f"found: {name}"] = p.mean(), recall_score(y_test, p > 0.5)
        print(f"{name:24}  {roc_auc_score(y_test, p):.4f}  {p.mean():16.1%}   {figures[f'found: {name}']:21.1%}")
    print(f"{'what happened':24}  {'':6}  {y_test.mean():16.1%}\n")

    print("can the probabilities of the plain model be believed?")
    for fifth in np.array_split(np.argsort(probability), 5):
        said, was = probability[fifth].mean(), y_test.to_numpy()[fifth].mean()
        print(f"  said {said:5.1%}   was {was:5.1%}   {'█' * round(40 * was)}")
    return figures


def pipeline(classifier: object) -> object:
    """Return one-hot codes, the rare ones as one, and standardised numbers; then the classifier."""
    columns = make_column_transformer(
        (OneHotEncoder(min_frequency=100, handle_unknown="infrequent_if_exist"), CODES),
        (StandardScaler(), make_column_selector(dtype_include="number")),
    )
    return make_pipeline(columns, classifier)


if __name__ == "__main__":
    main()
