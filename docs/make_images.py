"""Draw the pictures of the documentation, the same every time: ``python docs/make_images.py [folder]``."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import steepest as st
from steepest.curves import save_picture
from steepest.data import read_table
from steepest.plot import (
    animate_descent,
    plot_calibration,
    plot_coefficients,
    plot_confusion,
    plot_fit,
    plot_loss,
    plot_path,
    plot_surface,
)
from steepest.training import Options, Training, prepare, train

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
DEFAULT = "default.payment.next.month"
CODES, DELAYS = ["SEX", "EDUCATION", "MARRIAGE"], ["PAY_0", "PAY_2", "PAY_3", "PAY_4", "PAY_5", "PAY_6"]
FEATURES = ("LIMIT_BAL", "AGE", "PAY_0", "PAY_2", "BILL_AMT1", "PAY_AMT1")


def lesson() -> tuple[Any, Any]:
    """Return 100 points on a line with noise."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=100)
    return x, 2 * x + 1 + 0.5 * generator.normal(size=100)


def correlated() -> tuple[Any, Any]:
    """Return points of two features that nearly agree: a long valley."""
    generator = np.random.default_rng(1)
    common = generator.normal(size=(200, 1))
    X = common + 0.35 * generator.normal(size=(200, 2))
    return X, X @ [-0.5, 2.0] + generator.normal(size=200)


def credit() -> tuple[Any, Any]:
    """Return some columns of the credit table, each with mean zero and deviation one, and who defaulted."""
    table = read_table(EXAMPLES / "credit-default.csv")
    X = np.column_stack([table[name].to_numpy() for name in FEATURES]).astype(np.float64)
    return (X - X.mean(axis=0)) / X.std(axis=0), table[DEFAULT].to_numpy()


def trained(name: str, target: str, **options: Any) -> Training:
    """Return what ``steepest fit`` makes of an example."""
    chosen = Options(**options)
    return train(prepare(read_table(EXAMPLES / name), target, chosen), chosen)


def main(folder: Path) -> None:
    """Draw all pictures to `folder`."""
    folder.mkdir(exist_ok=True)

    def picture(name: str, draw: Callable[[Any], Any], size: tuple[float, float] = (6.4, 4.0)) -> None:
        save_picture(draw, folder / f"{name}.png", size)
        print(f"{name}.png: {(folder / f'{name}.png').stat().st_size / 1000:.0f} kB")  # noqa: T201

    x, y = lesson()
    X, z = correlated()
    C, defaulted = credit()
    race = {
        method: st.descend(C, defaulted, loss="log_loss", alpha=1e-3, method=method, n_steps=200)
        for method in ("gd", "momentum", "nesterov", "lbfgs", "newton")
    }
    picture("loss", lambda ax: plot_loss(st.descend(x, y, learning_rate=0.01, n_steps=200), ax))
    picture("loss-race", lambda ax: plot_loss(race, ax, gap=True))
    walk = list(st.iterate(x, y, learning_rate=0.05, n_steps=60))
    walks = {
        "gd, rate 0.35": list(st.iterate(X, z, learning_rate=0.35, n_steps=40)),
        "momentum 0.8, rate 0.03": list(
            st.iterate(X, z, method=st.Momentum(momentum=0.8), learning_rate=0.03, n_steps=40)
        ),
    }
    picture("surface", lambda ax: plot_surface(X, z, walks, parameters=(0, 1), ax=ax), (6.4, 4.8))
    far = list(st.iterate(C, defaulted, loss="log_loss", method="momentum", n_steps=60))
    picture("surface-plane", lambda ax: plot_surface(C, defaulted, far, loss="log_loss", ax=ax), (6.4, 4.8))
    fit = st.descend(x, y, learning_rate=0.05, n_steps=200)
    picture("fit", lambda ax: plot_fit(fit, x, y, path=walk, ax=ax))
    animate_descent(folder / "descent.gif", X, z, walks, parameters=(0, 1))
    animate_descent(folder / "descent-line.gif", x, y, walk, kind="fit")

    diamonds = trained("diamonds.csv", "price")
    table = read_table(EXAMPLES / "diamonds.csv")
    picture("coefficients", lambda ax: plot_coefficients(diamonds.model, X=table, n_most=15, ax=ax), (6.4, 4.6))
    alphas = np.geomspace(1e-3, 0.3, 30)
    fits = {
        a: st.descend(C, defaulted, loss="log_loss", alpha=a, l1_ratio=1.0, method="auto", tol=1e-7) for a in alphas
    }
    named = {a: replace(fit, feature_names=list(FEATURES)) for a, fit in fits.items()}
    picture("penalty-path", lambda ax: plot_path(named, ax=ax))

    ways = {"delays as amounts": CODES, "delays as codes": CODES + DELAYS}
    tasks = {way: trained("credit-default.csv", DEFAULT, drop=["ID"], categorical=codes) for way, codes in ways.items()}
    models = {way: task.model for way, task in tasks.items()}
    best = tasks["delays as codes"]
    held_out = read_table(EXAMPLES / "credit-default.csv").take(best.task.test)
    labels = held_out[DEFAULT]
    picture("calibration", lambda ax: plot_calibration(models, held_out, labels, ax=ax), (4.8, 4.8))
    picture("confusion", lambda ax: plot_confusion(best.model, held_out, labels, ax=ax), (3.6, 3.6))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images")
