"""What a picker offers: everything known by name, what it would take to load it, and what is typed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from textual.fuzzy import FuzzySearch

from microscope_tui.catalogue.listing import Entry, describe_model, describe_slice
from microscope_tui.catalogue.locate import is_path, locate_model, locate_slice
from microscope_tui.errors import MicroscopeError
from microscope_tui.memory import free_gpus, free_host
from microscope_tui.settings import Settings
from microscope_tui.tables import size_text
from microscope_tui.terms import NUMBER_BYTES, Request, SliceSpec, filter_terms
from microscope_tui.tui.data.source import Source

FAVOURITE, RECENT = "favourite", "recent"

COMPLETIONS: Final = ("count=200", "filter=image", "filter=text-only", "split=validation", "seed=1", "stream=1")
"""What is offered behind the `?` of a slice."""

FOLDERS: Final = 40
"""Folders that are offered to complete a typed path, at most."""


@dataclass(frozen=True)
class Room:
    """Free bytes, of the host and of each GPU, and the device and dtype of the settings."""

    host: int
    gpus: tuple[int, ...] = ()
    device: str = "auto"
    dtype: str = "auto"

    @classmethod
    def now(cls, device: str, dtype: str) -> Room:
        return cls(free_host(), free_gpus(), device, dtype)

    @property
    def on_gpu(self) -> bool:
        return bool(self.gpus) and self.device != "cpu"

    @property
    def free(self) -> int:
        """Bytes free where a model would be loaded to."""
        if not self.on_gpu:
            return self.host
        _, _, number = self.device.partition(":")
        if number.isdigit():
            return self.gpus[int(number)] if int(number) < len(self.gpus) else 0
        return sum(self.gpus) if self.device == "balanced" else self.gpus[0]

    def needed(self, entry: Entry) -> int:
        """Bytes that a model's weights take when they are loaded, 0 where that is not known.

        A model in `auto` keeps its own precision on a GPU and is float32 on the CPU.
        """
        own = NUMBER_BYTES.get(entry.dtype, 2)
        wanted = self.dtype if self.dtype != "auto" else entry.dtype if self.on_gpu else "float32"
        return entry.weights * NUMBER_BYTES.get(wanted, own) // own


@dataclass(frozen=True)
class Offer:
    """One line of a picker. `tag` says why it stands in front; `measured`, whether its result is there already for
    what else is chosen; `needs` and `free` are bytes, 0 where nothing is known. `unsized` is why the hub has not told
    the size of what is not here, as a part of a sentence."""

    entry: Entry
    tag: str = ""
    measured: bool = False
    needs: int = 0
    free: int = 0
    place: str = ""
    unsized: str = ""

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def fit(self) -> str:
        """How the weights fit into what is free, in a word: ``, `fits`, `tight` or `too large`."""
        if not self.needs or not self.free:
            return ""
        return "too large" if self.needs > self.free else "tight" if self.needs > 0.8 * self.free else "fits"

    @property
    def doubt(self) -> str:
        """Why one should think twice before choosing it, as a sentence; empty for no reason."""
        entry = self.entry
        if entry.refused:
            return f"It cannot be measured: {entry.refused}."
        if self.measured:
            return ""
        if entry.missing:
            what = entry.missing[0] + (f" and {len(entry.missing) - 1} more" if entry.missing[1:] else "")
            local = is_path(self.name.partition("?")[0])
            return f"It is incomplete: {what} {'is missing' if local else 'must be downloaded first'}."
        if not entry.here:
            fit = f", and needs {size_text(self.needs)} of memory: {self.fit}" if self.needs and self.fit else ""
            return f"It is not on this machine: {self._download}{fit}."
        if self.fit == "too large":
            return f"Its weights take {size_text(self.needs)} and {self.place} has {size_text(self.free)} free."
        return ""

    @property
    def askable(self) -> bool:
        """Whether the hub may know more of it."""
        entry = self.entry
        return not (entry.here or entry.refused or entry.size or self.unsized)

    @property
    def _download(self) -> str:
        """What must be downloaded before it can be measured."""
        if self.entry.size:
            return f"{size_text(self.entry.size)} will be downloaded from the hub"
        why = f" ({self.unsized})" if self.unsized else ""
        return f"it will be downloaded from the hub, its size is not known{why}"

    @property
    def plan(self) -> str:
        """What is known before it is loaded, in a line."""
        entry = self.entry
        on = "on disk" if entry.here else "on the hub, not on this machine"
        said = [entry.architecture, entry.dtype, f"{size_text(entry.size)} {on}" if entry.size else ""]
        if entry.refused:
            return " · ".join(part for part in (*said, f"cannot be measured: {entry.refused}") if part)
        if self.needs:
            fit = f": {self.fit}" if self.fit else ""
            said.append(f"weights {size_text(self.needs)} of {size_text(self.free)} free on {self.place}{fit}")
        if entry.model_type:
            said.append("kind is tested" if entry.tried else "kind is not tested here")
        if not entry.here and not entry.size:
            known = self.unsized or "the hub is asked for its size …"
            said.append(f"on the hub, not on this machine: size not known yet, {known}")
        said.append("measured" if self.measured else "not measured yet")
        return " · ".join(part for part in said if part)


def offers(
    known: Sequence[Entry],
    favourites: Sequence[str],
    recent: Sequence[str],
    describe: Callable[[str], Entry],
    measured: Callable[[str], bool],
    room: Room | None = None,
) -> tuple[Offer, ...]:
    """Favourites first, then what was looked at lately, then everything else. With `room`, how each fits.

    A favourite that cannot be is offered with its reason. Blocks.
    """
    by_name = {entry.name: entry for entry in known}
    tags = dict.fromkeys(recent, RECENT) | dict.fromkeys(favourites, FAVOURITE)
    order = dict.fromkeys((*favourites, *recent, *by_name))
    found = []
    for name in order:
        entry = by_name.get(name) or _described(name, describe, loud=name in favourites)
        if entry:
            offer = Offer(entry, tags.get(name, ""), measured(name))
            found.append(fitted(offer, room) if room else offer)
    return tuple(found)


def fitted(offer: Offer, room: Room) -> Offer:
    """An offer with how its weights fit."""
    place = "the GPU" if room.on_gpu else "the host"
    return replace(offer, needs=room.needed(offer.entry), free=room.free, place=place)


def _described(name: str, describe: Callable[[str], Entry], *, loud: bool) -> Entry | None:
    """What a name means; None for one that means nothing any more, unless the user should hear of that."""
    try:
        return describe(name)
    except MicroscopeError as error:
        return Entry(name, "", "", here=False, refused=str(error).rstrip(".")) if loud else None


def search(offered: Sequence[Offer], typed: str) -> list[tuple[Offer, Sequence[int]]]:
    """The offers in which every word typed is found, the best first, with the places in the name that matched."""
    words = typed.split()
    if not words:
        return [(offer, ()) for offer in offered]
    matcher = FuzzySearch()
    found: list[tuple[float, Offer, list[int]]] = []
    for offer in offered:
        entry, score, places = offer.entry, 0.0, list[int]()
        for word in words:
            in_name, where = matcher.match(word, entry.name)
            # Elsewhere only as it is typed: letters scattered over a long text are found in nearly every one.
            elsewhere = word.lower() in f"{entry.title} {entry.architecture} {entry.detail} {offer.tag}".lower()
            if not in_name and not elsewhere:
                break
            score += in_name or 1.0
            places += where
        else:
            found.append((score, offer, places))
    return [(offer, places) for _, offer, places in sorted(found, key=lambda each: -each[0])]


@dataclass(frozen=True)
class Shop:
    """What there is to choose from for one place of a session.

    `requests` are what choosing a name asks for; `recent` was looked at lately, and `favourites` are the user's beside
    those of the settings.
    """

    source: Source
    settings: Settings
    requests: Callable[[str], Iterable[Request]]
    slices: bool = False
    recent: Sequence[str] = ()
    favourites: Sequence[str] = ()

    def offers(self) -> tuple[Offer, ...]:
        """Everything known by name. Blocks. Raises `MicroscopeError`."""
        known = self.source.slices() if self.slices else self.source.models()
        if self.source.read_only:
            return tuple(Offer(entry, measured=True) for entry in known)
        room = None if self.slices else self._room()
        return offers(known, (*self._fixed, *self.favourites), self.recent, self._describe, self._measured, room)

    def examine(self, name: str) -> Offer:
        """What a typed name means. Blocks. Raises `MicroscopeError` when it cannot be."""
        for request in self.requests(name):
            self.source.check(request)
        if self.source.read_only:
            return Offer(Entry(name, "", ""), measured=self._measured(name))
        offer = Offer(self._describe(name), measured=self._measured(name))
        return offer if self.slices else fitted(offer, self._room())

    def sized(self, offer: Offer) -> Offer:
        """The offer with what the hub knows of it. Blocks, for seconds."""
        try:
            entry = self.source.on_hub(offer.entry, slices=self.slices)
        except MicroscopeError as error:
            return replace(offer, unsized=str(error))
        unsized = "" if entry.size or entry.refused else "the hub does not tell"
        offer = replace(offer, entry=entry, unsized=unsized)
        return offer if self.slices else fitted(offer, self._room())

    def wrong(self, name: str) -> str:
        """Why a name can be none, whatever the user has on the disk, as a sentence; empty when it can."""
        demo = "" if self.source.read_only else wrong_demo(name, slices=self.slices)
        return (wrong_slice(name) if self.slices else "") or wrong_home(name) or demo

    def kept(self, name: str) -> str:
        """Why a key cannot make a name a favourite or take that away, as a sentence; empty when it can."""
        if self.source.read_only:
            return "This cache is only looked at: nothing is kept with it, and so no favourites."
        if name in self._fixed:
            what = "favourite_slices" if self.slices else "favourite_models"
            return f"{name} is a favourite of the settings: take it out of {what} there."
        return ""

    def complete(self, name: str) -> list[str]:
        """What a typed name may become: options of a slice, or folders. Blocks."""
        if self.slices and "?" in name:
            return completions(name)
        return folders(name) if name.startswith(("/", "./", "../", "~")) else []

    @property
    def _fixed(self) -> Sequence[str]:
        """The favourites of the settings."""
        return self.settings.favourite_slices if self.slices else self.settings.favourite_models

    @property
    def forms(self) -> str:
        """How what is not in the list can be named, as a sentence."""
        what = "slice" if self.slices else "model"
        options = " with ?filter=image&count=200 and the like behind it" if self.slices else ""
        return f"Nothing here matches. A {what} is named OWNER/NAME as on the hub, or by its folder{options}."

    def _describe(self, name: str) -> Entry:
        if self.slices:
            return describe_slice(name)
        found = describe_model(name)
        if is_path(name) and Path(name).expanduser().is_file():
            return replace(found, refused="it is a file, and a checkpoint is a folder")
        return found

    def _measured(self, name: str) -> bool:
        try:
            return all(self.source.recall(request) is not None for request in self.requests(name))
        except MicroscopeError:
            return False

    def _room(self) -> Room:
        return Room.now(self.settings.device, self.settings.dtype)


def wrong_slice(text: str) -> str:
    """Why a text can be no slice, as a sentence; empty when it can."""
    try:
        filter_terms(SliceSpec.parse(text).filter)
    except MicroscopeError as error:
        return str(error)
    return ""


def wrong_demo(name: str, *, slices: bool) -> str:
    """Why a name that begins with `demo:` is of nothing that comes with the program, as a sentence; empty for any
    other name."""
    if name.startswith("demo:"):
        try:
            locate_slice(SliceSpec.parse(name).source) if slices else locate_model(name)
        except MicroscopeError as error:
            return str(error)
    return ""


def wrong_home(name: str) -> str:
    """Why a path that begins with somebody's home is none, as a sentence; empty for any other name."""
    if name.startswith("~"):
        try:
            Path(name).expanduser()
        except RuntimeError:
            return f"There is no home of {name[1:].partition('/')[0] or 'yours'} on this machine: write the whole path."
    return ""


def completions(text: str) -> list[str]:
    """Slices that a typed one may become: its last option in full, or one more that it has not, after `?` or `&`."""
    if "?" not in text:
        return []
    source, _, query = text.partition("?")
    *whole, last = query.split("&")
    endings = [each for each in COMPLETIONS if each.startswith(last) and each != last]
    if not endings and last:
        whole, endings = [*whole, last], list(COMPLETIONS)
    have = {part.partition("=")[0] for part in whole}
    return [f"{source}?{'&'.join((*whole, each))}" for each in endings if each.partition("=")[0] not in have]


def folders(typed: str) -> list[str]:
    """Folders whose path begins as typed, `~` kept as it was. Blocks."""
    head, slash, tail = typed.rpartition("/")
    parent = Path(head + slash).expanduser()
    try:
        inside: Iterable[Path] = sorted(parent.iterdir())
        names = [p.name for p in inside if p.name.startswith(tail) and (tail or p.name[0] != ".") and p.is_dir()]
    except OSError:
        return []
    return [f"{head}{slash}{name}" for name in names[:FOLDERS]]
