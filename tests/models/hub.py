"""The local hub cache as huggingface_hub writes it: blobs by hash, snapshots of links to them, refs to snapshots."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def put_in_hub(hub: Path, repo: str, folder: Path, commit: str, *, below: str = "", ref: str = "main") -> Path:
    """Add the files of `folder` to a cached repository, in its folder `below`; returns the snapshot."""
    root = hub / f"models--{repo.replace('/', '--')}"
    (root / "refs").mkdir(parents=True, exist_ok=True)
    (root / "refs" / ref).write_text(commit)
    blobs = root / "blobs"
    blobs.mkdir(exist_ok=True)
    snapshot = root / "snapshots" / commit
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = file.read_bytes()
        blob = blobs / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        link = snapshot / below / file.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot
