"""For every test: nothing of the user's own machine is read or written, and the network is off."""

import os

import pytest
from hypothesis import HealthCheck, settings

# The same examples on every machine, and no limit on the time that one takes: that is the machine's.
settings.register_profile("everywhere", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("everywhere")

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.pop("NO_COLOR", None)


@pytest.fixture(autouse=True)
def own_settings(tmp_path_factory, monkeypatch):
    """No settings file and no variable of the user's is in force."""
    for name in [name for name in os.environ if name.startswith("MICROSCOPE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MICROSCOPE_CONFIG", str(tmp_path_factory.getbasetemp() / "none.toml"))
