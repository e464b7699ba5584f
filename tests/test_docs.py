"""What the documents name is there, and what they should name is named."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

import microscope_tui
from microscope_tui.settings import Settings
from microscope_tui.tui.deeds import EXPLORER, NAMES, Deed

PACKAGE = Path(microscope_tui.__file__).parent
ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*ROOT.glob("*.md"), *DOCS.glob("*.md")]

ROWS = [
    row
    for page in ("code.md", "words.md")
    for row in (DOCS / page).read_text().splitlines()
    if re.match(r"\| .*`[\w/]+\.py`", row)
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_where_to_find_what_names_what_is_there(row):
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_the_documents_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("deed", EXPLORER, ids=lambda deed: deed.id)
def test_every_key_of_the_explorer_is_explained(deed: Deed):
    keys = re.findall(r"`([^`\n]+)`", (DOCS / "explorer.md").read_text())
    assert set(deed.shown.split()) <= set(keys)


def test_the_settings_file_of_the_documents_is_read_and_names_every_setting(tmp_path):
    [text] = re.findall(r"```toml\n(.*?)```", (DOCS / "settings.md").read_text(), re.DOTALL)
    file = tmp_path / "config.toml"
    file.write_text(text)
    settings = Settings.load({}, {}, file)
    assert (settings.dtype, settings.theme_names[-1]) == ("bfloat16", "mine")
    assert [each.name for each in fields(Settings) if not re.search(rf"^\[?{each.name}\b", text, re.MULTILINE)] == []
    assert set(settings.keys) <= {deed.id for deed in EXPLORER} | set(NAMES.values())
