import re
import sys
import tomllib
from pathlib import Path

import pytest

from microscope_tui.errors import MicroscopeError
from microscope_tui.settings import EXTRAS, Settings, checkout, default_cache, how_to_install


def test_flags_beat_the_environment_which_beats_the_file_which_beats_the_default(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('dtype = "bfloat16"\nfolds = 4\nmax_batch = 2\n')
    environ = {"MICROSCOPE_FOLDS": "5", "MICROSCOPE_MAX_BATCH": "3"}
    settings = Settings.load({"max_batch": 1, "dtype": None}, environ, file)
    assert (settings.dtype, settings.folds, settings.max_batch, settings.device) == ("bfloat16", 5, 1, "auto")


def test_the_cache_of_a_checkout_is_in_it_and_can_be_moved(tmp_path):
    assert checkout() == Path(__file__).parent.parent
    assert default_cache() == Path(__file__).parent.parent / "cache"
    assert Settings.load(None, {"MICROSCOPE_CACHE": str(tmp_path)}).cache == tmp_path
    assert Settings.load({"cache": "~/x"}, {}).cache == Path.home() / "x"


def test_the_limit_is_given_in_gigabytes_and_kept_in_bytes():
    assert Settings.load({"cache_limit_gb": 1.5}, {}).cache_limit == 1_500_000_000


def test_the_environment_can_name_the_file(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('theme = "microscope-light"')
    assert Settings.load(None, {"MICROSCOPE_CONFIG": str(file)}).theme == "microscope-light"


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("flods = 3", ("flods", "folds", "config.toml")),
        ('folds = "many"', ("folds", "many", "whole number", "config.toml")),
        ("folds = 0", ("folds", "more than 0")),
        ("folds = 2.7", ("folds", "2.7", "whole number")),
        ("folds = true", ("folds", "True")),
        ("cache_limit_gb = inf", ("cache_limit_gb", "a number")),
        ('cache = ""', ("cache", "a path")),
        ("folds =", ("config.toml", "cannot be read")),
        ("ascii = 1", ("ascii", "1", "true or false")),
        ('ascii = "maybe"', ("ascii", "'maybe'", "true or false")),
        ("favourite_models = 3", ("favourite_models", "a list of texts")),
        ("favourite_models = [3]", ("favourite_models", "a list of texts")),
        ('keys = "q"', ("keys", "a table")),
        ("[themes]\nmine = 3", ("themes", "a table")),
        ('dtype = "flot16"', ("dtype = 'flot16'", "config.toml", "float32, bfloat16, float16 or auto")),
        ('theme = "mine"', ("'mine'", "microscope-contrast")),
    ],
)
def test_a_wrong_file_is_refused_by_naming_what_is_wrong(tmp_path, content, parts):
    file = tmp_path / "config.toml"
    file.write_text(content)
    with pytest.raises(MicroscopeError) as error:
        Settings.load(None, {}, file)
    assert all(part in str(error.value) for part in parts)


def test_the_console_of_linux_gets_ascii_unless_somebody_says_otherwise(tmp_path):
    file = tmp_path / "config.toml"
    for term, plain in (("linux", True), ("linux-16color", True), ("xterm-256color", False), ("tmux", False)):
        assert Settings.load(None, {"TERM": term}, file).ascii is plain
    assert not Settings.load({"ascii": False}, {"TERM": "linux"}, file).ascii
    assert not Settings.load(None, {"TERM": "linux", "MICROSCOPE_ASCII": "0"}, file).ascii
    file.write_text("ascii = false\n")
    assert not Settings.load(None, {"TERM": "linux"}, file).ascii


def test_a_wrong_variable_is_named():
    with pytest.raises(MicroscopeError, match="MICROSCOPE_MAX_BATCH"):
        Settings.load(None, {"MICROSCOPE_MAX_BATCH": "three"})
    with pytest.raises(MicroscopeError, match="dtype = 'flot16' in MICROSCOPE_DTYPE is no precision"):
        Settings.load(None, {"MICROSCOPE_DTYPE": "flot16"})


def test_an_extra_is_installed_by_the_names_of_its_libraries_where_this_program_runs(monkeypatch, tmp_path):
    declared = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    extras = {name: tuple(re.split("[<>=]", each)[0] for each in libraries) for name, libraries in
              declared["optional-dependencies"].items()}  # fmt: skip
    assert extras == EXTRAS
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert how_to_install("maps") == f"{tmp_path}/bin/pip install scikit-learn"
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert how_to_install("media") == "pip install av soundfile"
    monkeypatch.setattr(sys, "prefix", str(Path(__file__).parent.parent / ".venv"))
    assert how_to_install("figures") == ".venv/bin/pip install matplotlib resvg-py"


def test_switches_and_lists_mean_the_same_from_the_file_the_environment_and_a_flag(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('ascii = true\nfavourite_models = ["a/b", "/c"]\n[keys]\nagain = "f5"\n')
    settings = Settings.load(None, {}, file)
    assert (settings.ascii, settings.favourite_models) == (True, ("a/b", "/c"))
    assert settings.keys == {"again": "f5"}
    environ = {"MICROSCOPE_ASCII": "off", "MICROSCOPE_FAVOURITE_MODELS": "x, y", "MICROSCOPE_KEYS": "no=table"}
    settings = Settings.load(None, environ, file)
    assert (settings.ascii, settings.favourite_models) == (False, ("x", "y"))
    assert settings.keys == {"again": "f5"}
    settings = Settings.load({"ascii": True, "without": "sinks,newline"}, environ, file)
    assert (settings.ascii, settings.without) == (True, ("sinks", "newline"))
