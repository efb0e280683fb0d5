"""The scripts in `examples`: each runs, reaches what it says it does, and prints what the documentation shows."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from printed import expect_shown

pytest.importorskip("pandas")

EXAMPLES = Path(__file__).parent.parent / "examples"
#: What the documentation shows: ``python examples/counts.py > docs/output/counts.txt``.
SHOWN = EXAMPLES.parent / "docs" / "output"
Figures = dict[str, float]


def credit_risk(figures: Figures) -> None:
    assert figures["auc"] == pytest.approx(figures["reference_auc"], abs=0.002)
    assert figures["auc"] > 0.75
    # What class weights do, and calibration undoes.
    for name in ("plain", "the same, calibrated"):
        assert figures[f"mean: {name}"] == pytest.approx(figures["rate"], abs=0.01)
    assert figures["mean: class_weight='balanced'"] > 1.5 * figures["rate"]
    assert figures["found: class_weight='balanced'"] > 1.5 * figures["found: plain"]


def text_classification(figures: Figures) -> None:
    assert figures["f1"] == pytest.approx(figures["reference_f1"], abs=0.005)
    assert figures["f1"] > 0.92
    assert figures["short_f1"] > 0.88
    assert figures["share_of_words"] < 0.05
    assert figures["sparse"]


def image_digits(figures: Figures) -> None:
    assert figures["accuracy"] == pytest.approx(figures["reference_accuracy"], abs=0.005)
    assert figures["accuracy"] > 0.95


def counts(figures: Figures) -> None:
    assert figures["deviance"] == pytest.approx(figures["reference_deviance"], rel=0.001)
    assert figures["deviance"] < figures["constant_deviance"] / 4


def several_targets(figures: Figures) -> None:
    assert figures["coef_difference"] < 1e-10
    assert figures["prediction_difference"] < 1e-10


def embeddings(figures: Figures) -> None:
    assert figures["best"] - 0.02 < figures["accuracy"] <= figures["best"]
    assert figures["extra_memory"] < 0.05


CHECKS = (credit_risk, text_classification, image_digits, counts, several_targets, embeddings)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_example(check: Callable[[Figures], None], capsys: pytest.CaptureFixture[str]) -> None:
    specification = spec_from_file_location(check.__name__, EXAMPLES / f"{check.__name__}.py")
    assert specification is not None
    assert specification.loader is not None
    example = module_from_spec(specification)
    specification.loader.exec_module(example)
    check(example.main())
    printed = capsys.readouterr().out
    assert 5 < len(printed.splitlines()) < 30
    assert max(map(len, printed.splitlines())) <= 120
    expect_shown((SHOWN / f"{check.__name__}.txt").read_text(encoding="utf-8"), printed)


def test_every_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {check.__name__ for check in CHECKS}


def test_every_table_is_described() -> None:
    described = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in EXAMPLES.iterdir():
        assert path.name == "README.md" or f"`{path.name}`" in described
