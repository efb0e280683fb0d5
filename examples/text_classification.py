"""Text: which text messages are spam? Sparse from the first word to the last coefficient.

5,574 messages become rows of tf-idf weights, a few of thousands of columns each; `GDClassifier` takes the sparse matrix
as it is. Run it: python examples/text_classification.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, f1_score
from sklearn.model_selection import train_test_split

import steepest as st

MESSAGES = Path(__file__).parent / "sms-spam.tsv"
ALPHA = 1e-5


def main() -> dict[str, float]:
    """Fit, compare, look at the words; return the figures that are printed."""
    lines = MESSAGES.read_text(encoding="utf-8").splitlines()
    labels, texts = zip(*(line.split("\t", 1) for line in lines), strict=True)
    split = train_test_split(texts, np.array(labels), test_size=0.25, stratify=labels, random_state=0)
    train_texts, test_texts, y_train, y_test = split

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    X_train, X_test = vectorizer.fit_transform(train_texts), vectorizer.transform(test_texts)
    model = st.GDClassifier(alpha=ALPHA).fit(X_train, y_train)
    f1 = f1_score(y_test, model.predict(X_test), pos_label="spam")
    reference = LogisticRegression(C=1 / (ALPHA * len(y_train)), tol=1e-6, max_iter=1000).fit(X_train, y_train)
    reference_f1 = f1_score(y_test, reference.predict(X_test), pos_label="spam")

    n_rows, n_words = X_train.shape
    filled = X_train.nnz / (n_rows * n_words)
    print(f"{n_rows:,} messages × {n_words:,} words and pairs of words, {filled:.2%} of them not zero")
    print(f"{model.solver_}, {model.n_iter_} steps: {model.fit_.message}")
    print(f"F1 of spam on {len(y_test):,} messages held out: {f1:.4f}; LogisticRegression {reference_f1:.4f}")
    (_, false_alarms), (missed, found) = confusion_matrix(y_test, model.predict(X_test))
    print(f"{found} of {found + missed} spam found, false alarms: {false_alarms}\n")

    words = vectorizer.get_feature_names_out()
    order = np.argsort(model.coef_[0])
    print("sounds like spam:     ", ", ".join(words[order[:-9:-1]]))
    print("sounds like a friend: ", ", ".join(words[order[:8]]))

    # With an ℓ1 penalty most words drop out, and the coefficients can be kept sparse too.
    short = st.GDClassifier(penalty="l1", alpha=1e-4, max_iter=5000).fit(X_train, y_train).sparsify()
    short_f1 = f1_score(y_test, short.predict(X_test), pos_label="spam")
    print(f"\nwith an ℓ1 penalty {short.coef_.nnz} words are enough for an F1 of {short_f1:.4f}")
    return {
        "f1": f1,
        "reference_f1": reference_f1,
        "short_f1": short_f1,
        "share_of_words": short.coef_.nnz / n_words,
        "sparse": float(sparse.issparse(X_train) and sparse.issparse(short.coef_)),
    }


if __name__ == "__main__":
    main()
