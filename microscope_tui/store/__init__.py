"""All that is on disk: measurements, moments, samples, jobs. SQLite and files through diskcache, without pickle."""

from microscope_tui.store.keys import content_key
from microscope_tui.store.rows import Collected, Damaged, Deaths, DiskFull, Entry, Kind, StoreFull
from microscope_tui.store.store import QUOTA_SHARE, Store

__all__ = [
    "QUOTA_SHARE",
    "Collected",
    "Damaged",
    "Deaths",
    "DiskFull",
    "Entry",
    "Kind",
    "Store",
    "StoreFull",
    "content_key",
]
