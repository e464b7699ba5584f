"""What is chosen on the screen: one frozen value, and pure functions from it to the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from microscope_tui.catalogue import full_name
from microscope_tui.settings import THEMES, Settings
from microscope_tui.terms import METHODS, Metric, Modality, Request, SliceSpec, Stream

STREAM_SETS: tuple[tuple[Stream, ...], ...] = (
    (Stream.MAIN, Stream.RESIDUAL),
    (Stream.UPDATE, Stream.RESIDUAL),
    (Stream.MAIN, Stream.UPDATE),
    (Stream.MAIN, Stream.RESIDUAL, Stream.UPDATE),
)
"""The columns that one key goes through."""

DARK, LIGHT = THEMES


@dataclass(frozen=True)
class Session:
    """All that decides what the explorer shows.

    `models[0]` is the model looked at, the others are laid over it. `methods` holds the variant chosen
    for a metric where it is not the first one measured. `layer` is the cursor that all panes share;
    `pane` counts the panes row by row.
    """

    models: tuple[str, ...]
    slice: SliceSpec
    metric: Metric = Metric.LINEARITY
    methods: tuple[tuple[Metric, str], ...] = ()
    modalities: tuple[Modality, ...] = (Modality.TEXT, Modality.IMAGE)
    streams: tuple[Stream, ...] = STREAM_SETS[0]
    layer: int = 0
    pane: int = 0
    zoomed: bool = False
    same_y: bool = False
    theme: str = DARK

    @property
    def comparing(self) -> bool:
        return len(self.models) > 1

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
        """What must be measured for this session, one request a model."""
        return tuple(Request(model, self.slice, **settings.of_request()) for model in self.models)


def choose_model(session: Session, name: str) -> Session:
    """Look at another model; one that was laid over it is not laid over itself."""
    name = full_name(name)
    return replace(session, models=(name, *(other for other in session.models[1:] if other != name)))


def lay_over(session: Session, name: str) -> Session:
    """Lay a second model over the first, in place of the one that was there."""
    name = full_name(name)
    return session if name == session.models[0] else replace(session, models=(session.models[0], name))


def take_off(session: Session) -> Session:
    """Only the first model again."""
    return replace(session, models=session.models[:1])


def choose_slice(session: Session, spec: SliceSpec) -> Session:
    return replace(session, slice=replace(spec, source=full_name(spec.source)))


def choose_metric(session: Session, metric: Metric) -> Session:
    return replace(session, metric=metric)


def next_method(session: Session, available: Sequence[str]) -> Session:
    """The next variant of the metric among those that were measured."""
    if not available:
        return session
    following = available[(available.index(session.method(available)) + 1) % len(available)]
    others = tuple((metric, method) for metric, method in session.methods if metric is not session.metric)
    return replace(session, methods=(*others, (session.metric, following)))


def next_streams(session: Session) -> Session:
    """The next set of columns; the focus stays on its stream where that is still shown."""
    known = session.streams in STREAM_SETS
    following = STREAM_SETS[(STREAM_SETS.index(session.streams) + 1) % len(STREAM_SETS)] if known else STREAM_SETS[0]
    modality, stream = session.focus
    changed = replace(session, streams=following, pane=0)
    column = following.index(stream) if stream in following else 0
    return replace(changed, pane=session.modalities.index(modality) * len(following) + column)


def move_layer(session: Session, by: int, last: int) -> Session:
    """Move the layer cursor, not beyond the layers 0 … `last`."""
    return to_layer(session, session.layer + by, last)


def to_layer(session: Session, layer: int, last: int) -> Session:
    return replace(session, layer=max(0, min(layer, last)))


def move_pane(session: Session, by: int) -> Session:
    return replace(session, pane=(session.pane + by) % len(session.panes))


def to_pane(session: Session, pane: int) -> Session:
    return replace(session, pane=max(0, min(pane, len(session.panes) - 1)))


def toggle_zoom(session: Session) -> Session:
    return replace(session, zoomed=not session.zoomed)


def toggle_same_y(session: Session) -> Session:
    return replace(session, same_y=not session.same_y)


def toggle_theme(session: Session) -> Session:
    return replace(session, theme=LIGHT if session.theme == DARK else DARK)
