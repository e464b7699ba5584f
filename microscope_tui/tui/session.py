"""What is chosen on the screen: one frozen value, and pure functions from it to the next one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from microscope_tui.catalogue.locate import full_name
from microscope_tui.methods import METHODS, REFERENCE
from microscope_tui.settings import THEMES, Settings
from microscope_tui.terms import Metric, Modality, Request, SliceSpec, Stream

STREAM_SETS: tuple[tuple[Stream, ...], ...] = (
    (Stream.MAIN, Stream.RESIDUAL),
    (Stream.UPDATE, Stream.RESIDUAL),
    (Stream.MAIN, Stream.UPDATE),
    (Stream.MAIN, Stream.RESIDUAL, Stream.UPDATE),
)
"""The columns that one key goes through; the last of them is all there are."""

DARK, LIGHT = THEMES[:2]

MOST = 4
"""Curves that can be laid over each other."""


@dataclass(frozen=True)
class Curve:
    """A model on a slice. `slot` gives its colour and its sign, and stays its own while others come and go."""

    model: str
    slice: SliceSpec
    slot: int


@dataclass(frozen=True)
class Session:
    """All that decides what the explorer shows.

    `models[0]` is the model looked at; the other models are laid over it on the same `slice`, and so is the first
    model on the slices `others`: `MOST` curves at most, whose `slots` are in the order of `curves`. `top` is the slot
    of the one pinned on top.

    `methods` holds the variant chosen for a metric where it is not the first one measured, `logs` the metrics whose
    axis is logarithmic. `layer` is the cursor that all panes share; `pane` counts the panes row by row. `dismissed`
    are rows of panes that the user has hidden: they do not come back by themselves. `without`, `before` and
    `reference` are those of a `Request`, and `rows` its `matched`.
    """

    models: tuple[str, ...]
    slice: SliceSpec
    metric: Metric = Metric.LINEARITY
    methods: tuple[tuple[Metric, str], ...] = ()
    put_by: tuple[tuple[Metric, str], ...] = ()
    """The variants that come back when the reference mode is left."""
    modalities: tuple[Modality, ...] = (Modality.TEXT, Modality.IMAGE)
    streams: tuple[Stream, ...] = STREAM_SETS[0]
    layer: int = 0
    pane: int = 0
    zoomed: bool = False
    same_y: bool = False
    theme: str = DARK
    others: tuple[SliceSpec, ...] = ()
    slots: tuple[int, ...] = ()
    top: int = 0
    difference: bool = False
    depth: bool = False
    logs: tuple[Metric, ...] = ()
    dismissed: tuple[Modality, ...] = ()
    without: tuple[str, ...] | None = None
    one_tile: bool = False
    before: bool | None = None
    reference: bool | None = None
    rows: int | None = None
    thin: bool = False
    """Draw little, for a slow line."""

    def __post_init__(self) -> None:
        count = len(self.models) + len(self.others)
        if len(set(self.slots)) != count:
            object.__setattr__(self, "slots", tuple(range(count)))
        if self.top not in self.slots:
            object.__setattr__(self, "top", self.slots[0])

    @property
    def curves(self) -> tuple[Curve, ...]:
        """What is laid over each other, in the order in which it is listed."""
        subjects = _subjects(self.models, self.slice, self.others)
        return tuple(Curve(*subject, slot) for subject, slot in zip(subjects, self.slots, strict=True))

    @property
    def comparing(self) -> bool:
        return len(self.slots) > 1

    @property
    def differing(self) -> bool:
        """Whether the others are shown as their difference to the first curve."""
        return self.difference and self.comparing

    @property
    def log_y(self) -> bool:
        """Whether the y axis is logarithmic; differences have signs, so theirs never is."""
        return self.metric in self.logs and not self.differing

    @property
    def panes(self) -> tuple[tuple[Modality, Stream], ...]:
        """The panes, row by row."""
        return tuple((modality, stream) for modality in self.modalities for stream in self.streams)

    @property
    def focus(self) -> tuple[Modality, Stream]:
        return self.panes[self.pane]

    def method(self, available: Sequence[str] = ()) -> str:
        """The variant to show of the metric: the one chosen if it is `available`, else the first that is."""
        chosen = dict(self.methods).get(self.metric, METHODS[self.metric][0])
        return chosen if chosen in available or not available else available[0]

    def requests(self, settings: Settings) -> tuple[Request, ...]:
        """What must be measured for this session, one request a curve, in their order."""
        values: dict[str, Any] = settings.of_request() | {"one_tile": self.one_tile}
        for name in ("without", "before", "reference"):
            if (chosen := getattr(self, name)) is not None:
                values[name] = chosen
        values["matched"] = self.rows
        return tuple(
            Request(curve.model, curve.slice, modalities=modalities_of(curve.slice), **values) for curve in self.curves
        )


def modalities_of(spec: SliceSpec) -> tuple[Modality, ...]:
    """What is measured of a slice: text and pictures, and the videos and sounds that its columns are said to hold."""
    roles = {role for role, _ in spec.columns}
    more = (m for m in (Modality.VIDEO, Modality.AUDIO) if m.value in roles)
    return (Modality.TEXT, Modality.IMAGE, *more)


# What is looked at


def choose_model(session: Session, name: str) -> Session:
    """Look at another model; one that was laid over it is not laid over itself."""
    name = full_name(name)
    return _curves(session, (name, *(other for other in session.models[1:] if other != name)), session.others)


def lay_over(session: Session, name: str) -> Session:
    """Lay another model over the first, if there is room and it is not there yet."""
    name = full_name(name)
    if name in session.models or len(session.slots) >= MOST:
        return session
    return _curves(session, (*session.models, name), session.others)


def lay_slice_over(session: Session, spec: SliceSpec) -> Session:
    """Lay the first model on another slice over the others, if there is room and it is not there yet."""
    spec = _full(spec)
    if spec == session.slice or spec in session.others or len(session.slots) >= MOST:
        return session
    return _curves(session, session.models, (*session.others, spec))


def take_off(session: Session) -> Session:
    """Take off the curve that is pinned on top, the last one where that is the first."""
    if not session.comparing:
        return session
    number = session.slots.index(session.top) or len(session.slots) - 1
    models, others = list(session.models), list(session.others)
    if number < len(models):
        del models[number]
    else:
        del others[number - len(models)]
    return _curves(session, tuple(models), tuple(others))


def alone(session: Session) -> Session:
    """Only the first model on the first slice."""
    return _curves(session, session.models[:1], ())


def pin_next(session: Session) -> Session:
    """Pin the next curve on top."""
    number = session.slots.index(session.top)
    return replace(session, top=session.slots[(number + 1) % len(session.slots)])


def model_on_top(session: Session) -> int:
    """The number, among the models, of that of the curve pinned on top; the curves on other slices are of the first."""
    number = session.slots.index(session.top)
    return number if number < len(session.models) else 0


def choose_slice(session: Session, spec: SliceSpec) -> Session:
    """Look at another slice; one that was laid over it is not laid over itself."""
    spec = _full(spec)
    return _curves(replace(session, slice=spec), session.models, tuple(s for s in session.others if s != spec))


def choose_metric(session: Session, metric: Metric) -> Session:
    return replace(session, metric=metric)


def _full(spec: SliceSpec) -> SliceSpec:
    return replace(spec, source=full_name(spec.source))


def _subjects(models: Sequence[str], spec: SliceSpec, others: Sequence[SliceSpec]) -> list[tuple[str, SliceSpec]]:
    return [*((model, spec) for model in models), *((models[0], other) for other in others)]


def _curves(session: Session, models: tuple[str, ...], others: tuple[SliceSpec, ...]) -> Session:
    """Other curves; those that were there keep their slots, the first one always its own."""
    kept = dict(zip((*session.models[1:], *session.others), session.slots[1:], strict=True))
    slots = [session.slots[0]]
    wanted: tuple[str | SliceSpec, ...] = (*models[1:], *others)
    taken = {slots[0], *(kept[each] for each in wanted if each in kept)}
    free = iter(slot for slot in range(MOST) if slot not in taken)
    slots += [kept[each] if each in kept else next(free) for each in wanted]
    return replace(session, models=models, others=others, slots=tuple(slots))


# Variants


def next_method(session: Session, available: Sequence[str]) -> Session:
    """The next variant of the metric among those that were measured."""
    if not available:
        return session
    following = available[(available.index(session.method(available)) + 1) % len(available)]
    others = tuple((metric, method) for metric, method in session.methods if metric is not session.metric)
    return replace(session, methods=(*others, (session.metric, following)))


def toggle_without(session: Session, rows: str, now: Iterable[str]) -> Session:
    """Leave rows out, or count them again; `now` are those that are left out."""
    return replace(session, without=tuple(sorted(set(now) ^ {rows})))


def toggle_reference(session: Session, now: bool) -> Session:
    """Show every metric as LLM-Microscope computes it, or as we do again."""
    if now:
        # Where the reference was on from the start, no other variants were put by.
        others = tuple((metric, method) for metric, method in session.methods if method != REFERENCE)
        methods = tuple((dict(session.put_by) | dict(others)).items())
        return replace(session, reference=False, methods=methods, put_by=())
    chosen = tuple((metric, REFERENCE) for metric in Metric)
    return replace(session, reference=True, methods=chosen, put_by=session.methods)


def toggle_before(session: Session, now: bool) -> Session:
    return replace(session, before=not now)


def toggle_rows(session: Session, rows: int) -> Session:
    """Look at this many different rows of each modality and curve for dimension, or at all of the sample again."""
    return replace(session, rows=None if session.rows else rows)


def take_variant(session: Session, request: Request, reference: bool) -> Session:
    """The session with what a request counts and computes; `reference` says whether the reference is on now."""
    if request.reference != reference:
        session = toggle_reference(session, reference)
    rows = request.matched
    return replace(session, without=request.without, one_tile=request.one_tile, before=request.before, rows=rows)


def with_variant_of(session: Session, other: Session) -> Session:
    """The session with what another one counts and shows of the metrics."""
    return replace(
        session,
        without=other.without,
        one_tile=other.one_tile,
        before=other.before,
        reference=other.reference,
        rows=other.rows,
        methods=other.methods,
        put_by=other.put_by,
    )


def toggle_one_tile(session: Session) -> Session:
    return replace(session, one_tile=not session.one_tile)


# Panes


def next_streams(session: Session) -> Session:
    """The next set of columns; the focus stays on its stream where that is still shown."""
    known = session.streams in STREAM_SETS
    following = STREAM_SETS[(STREAM_SETS.index(session.streams) + 1) % len(STREAM_SETS)] if known else STREAM_SETS[0]
    return _grid(session, session.modalities, following)


def hide_row(session: Session) -> Session:
    """Hide the row of the pane in focus, unless it is the only one."""
    modality, _ = session.focus
    if len(session.modalities) == 1:
        return session
    session = replace(session, dismissed=(*session.dismissed, modality))
    return _grid(session, tuple(m for m in session.modalities if m is not modality), session.streams)


def hide_column(session: Session) -> Session:
    """Hide the column of the pane in focus, unless it is the only one."""
    _, stream = session.focus
    if len(session.streams) == 1:
        return session
    return _grid(session, session.modalities, tuple(s for s in session.streams if s is not stream))


def show_all(session: Session, measured: Iterable[Modality]) -> Session:
    """All rows of which something is `measured`, text and image always, and all columns."""
    have = {Modality.TEXT, Modality.IMAGE, *measured}
    return _grid(replace(session, dismissed=()), tuple(m for m in Modality if m in have), STREAM_SETS[-1])


def appear(session: Session, measured: Iterable[Modality]) -> Session:
    """Show the rows of which something is `measured`, but for those that the user has hidden."""
    have = {*session.modalities, *(m for m in measured if m not in session.dismissed)}
    return _grid(session, tuple(m for m in Modality if m in have), session.streams)


def _grid(session: Session, modalities: tuple[Modality, ...], streams: tuple[Stream, ...]) -> Session:
    """Other rows and columns; the focus stays on its modality and stream as far as they are still there."""
    modality, stream = session.focus
    row = modalities.index(modality) if modality in modalities else 0
    column = streams.index(stream) if stream in streams else 0
    return replace(session, modalities=modalities, streams=streams, pane=row * len(streams) + column)


def move_layer(session: Session, by: int, last: int, first: int = 0) -> Session:
    """Move the layer cursor, not beyond the layers `first` … `last`."""
    return to_layer(session, session.layer + by, last, first)


def to_layer(session: Session, layer: int, last: int, first: int = 0) -> Session:
    return replace(session, layer=max(first, min(layer, last)))


def move_pane(session: Session, by: int) -> Session:
    return replace(session, pane=(session.pane + by) % len(session.panes))


def to_pane(session: Session, pane: int) -> Session:
    return replace(session, pane=max(0, min(pane, len(session.panes) - 1)))


def toggle_zoom(session: Session) -> Session:
    return replace(session, zoomed=not session.zoomed)


def toggle_same_y(session: Session) -> Session:
    return replace(session, same_y=not session.same_y)


def toggle_log(session: Session) -> Session:
    """A logarithmic y axis for the metric shown, or a linear one again."""
    return replace(session, logs=tuple(m for m in Metric if (m in session.logs) != (m is session.metric)))


def toggle_depth(session: Session) -> Session:
    return replace(session, depth=not session.depth)


def toggle_difference(session: Session) -> Session:
    return replace(session, difference=not session.difference)


def toggle_thin(session: Session) -> Session:
    return replace(session, thin=not session.thin)


def next_theme(session: Session, names: Sequence[str]) -> Session:
    """The next of the themes, the first one after the last."""
    at = names.index(session.theme) if session.theme in names else -1
    return replace(session, theme=names[(at + 1) % len(names)])
