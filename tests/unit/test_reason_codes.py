"""The page of reason codes and the enum name the same codes, each with words."""

from __future__ import annotations

import re

from house_source import ROOT

from ullage.core.reason_codes import GuardCode

PAGE = (ROOT / "docs" / "reason-codes.md").read_text(encoding="utf-8")


def test_the_page_explains_every_code_and_no_other() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert [code for code, *_ in rows] == [str(code) for code in GuardCode]
    assert all(len(words) > 15 for _, _, words, _ in rows)


def test_codes_begin_with_the_number_of_their_invariant() -> None:
    plain = {"frozen", "keep", "refused", "vanished", "ambiguous", "quarantined"}
    for code in GuardCode:
        number = re.match(r"s(\d+)_", str(code))
        assert str(code) in plain or (number and 1 <= int(number.group(1)) <= 24), code
