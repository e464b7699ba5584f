"""What is on the screen, as text for other programs: CSV with a row a layer, and JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from microscope_tui.errors import MicroscopeError
from microscope_tui.tables import profile_csv
from microscope_tui.terms import Measurement, Profile
from microscope_tui.tui.readout import short_name
from microscope_tui.tui.session import Session


def profiles_shown(session: Session, measurement: Measurement, method: str) -> tuple[Profile, ...]:
    """The profiles of a measurement that the session's panes show."""
    panes = [session.focus] if session.zoomed else session.panes
    found = (measurement.profile(session.metric, modality, stream, method) for modality, stream in panes)
    return tuple(profile for profile in found if profile)


def to_csv(session: Session, measurements: Sequence[Measurement], method: str) -> str:
    """One row for each layer of each profile shown."""
    return profile_csv((m, p) for m in measurements for p in profiles_shown(session, m, method))


def to_json(session: Session, measurements: Sequence[Measurement], method: str) -> str:
    """A list with one object a model, as `microscope-tui measure --json` prints it, with the profiles shown."""
    shown: list[dict[str, Any]] = []
    for m in measurements:
        data = m.to_json()
        data["profiles"] = [p.to_json() for p in profiles_shown(session, m, method)]
        shown.append(data)
    return json.dumps(shown, indent=2, ensure_ascii=False) + "\n"


def file_stem(session: Session, now: datetime) -> str:
    """A file name that says what is in it, safe on every file system."""
    words = [*(short_name(model) for model in session.models), short_name(session.slice.source), session.metric]
    name = re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(words))[:120].strip("-.")
    return f"{name}-{now:%Y%m%d-%H%M%S}"


def write(folder: Path, files: dict[str, str]) -> list[Path]:
    """Write texts under names in a folder; `MicroscopeError` when it cannot be written to."""
    written = []
    for name, text in files.items():
        path = folder / name
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise MicroscopeError(f"{path} cannot be written ({error.strerror}): start from another folder.") from error
        written.append(path)
    return written
