"""The map of the code names files that are there, and names in them that are there too."""

import re
from pathlib import Path

import pytest

import microscope_tui

PACKAGE = Path(microscope_tui.__file__).parent
DOCS = Path(__file__).parents[1] / "docs"

ROWS = [line for line in (DOCS / "code.md").read_text().splitlines() if re.match(r"\| .*`[\w/]+\.py`", line)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_where_to_change_what_names_what_is_there(row):
    files = re.findall(r"`([\w/]+\.py)`", row)
    for file in files:
        assert (PACKAGE / file).is_file(), file
    text = "".join((PACKAGE / file).read_text() for file in files)
    for group in re.findall(r"\(((?:`\w+`(?:, )?)+)\)", row):
        for name in re.findall(r"`(\w+)`", group):
            assert re.search(rf"^(class {name}\b|{name}\b.*=)", text, re.MULTILINE), name


def test_every_room_of_the_package_is_on_the_map():
    named = set(re.findall(r"`(\w+)`", (DOCS / "code.md").read_text()))
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms <= named
