"""Images: handwritten digits by softmax regression, and what the model looks for, as a picture.

1,797 images of 8 × 8 pixels, ten classes, one softmax. Run it: python examples/image_digits.py
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import train_test_split

import steepest as st

ALPHA = 1e-3


def main() -> dict[str, float]:
    """Fit, compare, draw; return the figures that are printed."""
    images = load_digits()
    X_train, X_test, y_train, y_test = train_test_split(
        images.data / 16, images.target, test_size=0.25, stratify=images.target, random_state=0
    )
    model = st.GDClassifier(alpha=ALPHA).fit(X_train, y_train)
    accuracy = model.score(X_test, y_test)
    reference = LogisticRegression(C=1 / (ALPHA * len(y_train)), max_iter=1000).fit(X_train, y_train)
    reference_accuracy = reference.score(X_test, y_test)
    print(f"accuracy on {len(y_test)} images held out: {accuracy:.2%}; LogisticRegression {reference_accuracy:.2%}")
    print(f"{model.solver_}, {model.n_iter_} steps: {model.fit_.message}\n")

    confused = confusion_matrix(y_test, model.predict(X_test))
    np.fill_diagonal(confused, 0)
    was, said = np.unravel_index(confused.argmax(), confused.shape)
    print(f"most often confused: {was} is taken for {said}, {confused[was, said]} times\n")

    print("where ink speaks for a digit, and where it speaks against it:")
    digits = (0, 7)
    pictures = [drawn(model.coef_[digit].reshape(8, 8)) for digit in digits]
    print("    ".join(f"{f'for {digit}':^16}    {f'against {digit}':^16}" for digit in digits).rstrip())
    for rows in zip(*pictures, strict=True):
        print("    ".join(rows).rstrip())
    return {"accuracy": accuracy, "reference_accuracy": reference_accuracy}


def drawn(weights: np.ndarray) -> list[str]:
    """Return a picture of positive weights beside one of negative ones, a string a row."""
    shades = np.array(list("·░▒▓█"))
    share = weights / np.abs(weights).max()
    halves = [shades[np.clip((sign * share * 5).astype(int), 0, 4)] for sign in (1, -1)]
    return ["    ".join("".join(np.repeat(row, 2)) for row in rows) for rows in zip(*halves, strict=True)]


if __name__ == "__main__":
    main()
