"""What the documentation shows beside what is printed: the same text, figures up to what a machine makes of them."""

from __future__ import annotations

import re

import pytest

#: A number; a bar or a shaded picture, which figures draw; a line that stands for any; blanks.
PIECES = re.compile(r"(?P<number>\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)|(?P<drawn>[░▒▓█·]+)|(?P<any>…)|(?P<blank>\s+)")
PATTERNS = {
    "number": r"(\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)",
    "drawn": r"[░▒▓█·]+",
    "any": r"[\s\S]*?",
    "blank": r"\s+",
}


def expect_shown(shown: str, printed: str) -> None:
    """Expect text that is `shown` to be what is `printed`: its words, and its numbers within 5 %; "…" is any text.

    What rounding alone makes, such as 3e-15, may be another such number.
    """
    shown, printed = shown.strip(), printed.strip()
    pattern, end, numbers = "", 0, []
    for piece in PIECES.finditer(shown):
        kind = piece.lastgroup or ""
        pattern += re.escape(shown[end : piece.start()]) + PATTERNS[kind]
        end = piece.end()
        if kind == "number":
            numbers.append(piece[0])
    found = re.fullmatch(pattern + re.escape(shown[end:]), printed)
    assert found, f"shown:\n{shown}\n\nprinted:\n{printed}"
    for one, other in zip(numbers, found.groups(), strict=True):
        if "e-" not in one:
            small = 2 if one.isdecimal() else 0
            assert _value(other) == pytest.approx(_value(one), rel=0.05, abs=small), f"{one} is shown in:\n{shown}"


def _value(number: str) -> float:
    return float(number.replace(",", ""))
