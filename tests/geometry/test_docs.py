"""The page on geometry: its examples run as they stand, and print what it says."""

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.coverage import EXPLAINED, RESULTS
from microscope_tui import geometry

MANUAL = (Path(__file__).parents[2] / "docs" / "geometry.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", MANUAL, re.DOTALL)


def promised(code: str) -> list[str]:
    """What a block says that it prints: behind each `print`, or in lines of its own after it."""
    return [found for found in re.findall(r"(?:^|\)  )# (.*)", code, re.MULTILINE) if not found.endswith(".")]


def test_the_examples_run_one_after_the_other_and_print_what_stands_there(capsys: pytest.CaptureFixture[str]):
    names: dict[str, Any] = {}
    printed = 0
    for code in BLOCKS:
        exec(compile(code, "docs/geometry.md", "exec"), names)
        said = capsys.readouterr().out.splitlines()
        assert said == promised(code)
        printed += len(said)
    assert printed >= 15


def test_what_the_page_says_of_intervals_stands_in_the_table():
    table = RESULTS.read_text()
    assert EXPLAINED in table
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.partition("Two models")[0].splitlines()]
    rows = [row for row in cells if len(row) == 6 and row[1].isdigit()]
    long_run = sorted((row[2] for row in rows), key=lambda share: float(share.rstrip("%")))
    assert f"{long_run[0].rstrip('%')} to {long_run[-1][:-1]} %" in MANUAL
    said = 0
    for line in MANUAL.splitlines():
        name, *shares = [cell.strip() for cell in line.split("|")[1:-1]] or [""]
        found = [row[3] for row in rows if row[0] == name]
        if found:
            assert shares == found
            said += 1
        elif name == "anisotropy, by method":
            for count, share in zip(("20", "50", "150"), shares, strict=True):
                of = [float(row[3].rstrip("%")) for row in rows if row[0].startswith("anisotropy") and row[1] == count]
                assert share == f"{min(of)} to {max(of)}%"
            said += 1
    assert said == 5


def test_all_that_is_offered_is_on_the_page():
    functions = [name for name in geometry.__all__ if name[0].islower()]
    assert all(f"geometry.{name}(" in MANUAL for name in functions)
