"""The page on geometry: its examples run as they stand, and print what it says."""

import re
from pathlib import Path
from typing import Any

import pytest

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


def test_all_that_is_offered_is_on_the_page():
    functions = [name for name in geometry.__all__ if name[0].islower()]
    assert all(f"geometry.{name}(" in MANUAL for name in functions)
