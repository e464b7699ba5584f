"""A sample of rows on a plane, layer by layer, for one model or two side by side: by PCA, or by t-SNE."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.strip import Strip

from microscope_tui.inspection import Cloud, Projection
from microscope_tui.terms import JobKind, Modality, Request, Stream
from microscope_tui.tui.content.cards import Row, Section
from microscope_tui.tui.content.closer_cards import map_card, massive_rows
from microscope_tui.tui.content.names import short_name
from microscope_tui.tui.content.readout import shorten
from microscope_tui.tui.content.spans import Ends, Part, Span
from microscope_tui.tui.content.status import status_of_look
from microscope_tui.tui.data.looks import Look
from microscope_tui.tui.keys import bindings
from microscope_tui.tui.output.records import Record, cloud_records
from microscope_tui.tui.screens.onemodel import OneModel
from microscope_tui.tui.screens.place import Place
from microscope_tui.tui.themes import KINDS, MARKERS
from microscope_tui.tui.widgets.canvas import Canvas, row
from microscope_tui.tui.widgets.scatter import Scatter

MOST = 2
"""Models side by side."""
ROOMY = (58, 18)
"""Columns and lines from which there is room for all words, and for what to be careful about."""
STREAMS = (Stream.RESIDUAL, Stream.UPDATE, Stream.MAIN)


class Map(OneModel):
    """One field a model, all at the layer under the cursor: that of `request` first, then those after it."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("map")]
    KEYS = "map"
    NAME = "map"
    DEFAULT_CSS = "Map #map-1 { border-left: solid $line; }"

    def __init__(self, place: Place, model: int = 0) -> None:
        super().__init__(place, model)
        _, stream = place.session.focus
        self.stream = stream
        self.whole = False
        self.by_model = False
        self.tsne = False
        self.modality: Modality | None = None

    def body(self) -> ComposeResult:
        with Horizontal(id="body"):
            for number in range(MOST):
                yield Canvas(id=f"map-{number}")

    @property
    def side_by_side(self) -> tuple[Request, ...]:
        """The requests that are shown."""
        requests = self.requests
        first = requests.index(self.request)
        return (requests[first:] + requests[:first])[:MOST]

    @property
    def which(self) -> str:
        """Which of the models are shown, where there is no room for all: `2, 3 of 4`."""
        requests = self.requests
        if len(requests) <= MOST:
            return ""
        return f"{', '.join(str(requests.index(r) + 1) for r in self.side_by_side)} of {len(requests)}"

    @property
    def saved_as(self) -> str:
        return f"{self.NAME}-{'t-SNE' if self.tsne else 'PCA'}"

    @property
    def asked(self) -> Sequence[Look]:
        kind = JobKind.TSNE if self.tsne else JobKind.MAP
        return [Look(replace(r, streams=(self.stream,)), kind) for r in self.side_by_side]

    @property
    def clouds(self) -> tuple[Cloud | None, ...]:
        values = (self.see(look).value for look in self.asked)
        return tuple(value if isinstance(value, Cloud) else None for value in values)

    def title_line(self) -> Ends:
        palette = self.palette
        left = [
            Span(" Map ", palette.text, True),
            Span(f" layer {self.at_layer} ", palette.cursor_line, True),
            Span(f" {self.key('stream')} ", palette.key, False, "stream"),
            Span(f"{self.stream} ", palette.text, True, "stream"),
            Span(f" {self.key('projection')} ", palette.key, False, "projection"),
            Span("t-SNE " if self.tsne else "PCA ", palette.text, True, "projection"),
        ]
        if self.which:
            left.append(Span(f" {self.key('model')} ", palette.key, False, "model"))
            left.append(Span(f"models {self.which} ", palette.text, True, "model"))
        right = [Span(f" {self.key('filter')} {self.modality or 'all'} ", palette.faint, False, "filter")]
        right.append(Span(f" {self.key('whole')} {'whole' if self.whole else 'core'} ", palette.faint, False, "whole"))
        return left, right

    def show_body(self) -> None:
        clouds = self.clouds
        for number in range(MOST):
            canvas = self.query_one(f"#map-{number}", Canvas)
            wanted = number < len(clouds)
            if canvas.display != wanted:
                canvas.display = wanted
            if wanted:
                canvas.show(partial(self._field, number), self.palette.background)

    def _field(self, number: int, width: int, height: int) -> list[Strip]:
        look, cloud = self.asked[number], self.clouds[number]
        if cloud is None:
            return self.waiting_for(look, width, height)
        if not cloud.points:
            return self.message("No rows were sampled: there is nothing to show.", False, width, height)
        palette, request = self.palette, self.side_by_side[number]
        if self.at_layer >= len(cloud.points) and not cloud.complete:
            return self._not_yet(look, cloud, width, height)
        if self.at_layer >= len(cloud.points):
            return self.message(f"layer {self.at_layer}: the {self.stream} stream ends before it", False, width, height)
        slot = self.slot(request)
        kept = [i for i, modality in enumerate(cloud.modality) if self.modality in (None, modality)]
        layer = cloud.points[self.at_layer]
        series = [slot if self.by_model else tuple(Modality).index(cloud.modality[i]) for i in kept]
        limited = cloud.projection is not Projection.TSNE
        points = [layer[i] for i in kept]
        scatter = Scatter(points, series, palette, self.whole, kinds=not self.by_model, limited=limited)
        label = shorten(short_name(request.model), max(width // 4, 8))
        named = (f" {MARKERS[slot % len(MARKERS)]} {label} ", palette.of(slot), True)
        head: list[Part] = [
            named if self.by_model else (f" {label} ", palette.text, True),
            *[
                (f" {share:.0%}{' of the variance' * (width >= ROOMY[0])} ", palette.text, False)
                for share in cloud.share[self.at_layer :][:1]
            ],
            *self._legend(cloud, width),
        ]
        said = " · ".join((*massive_rows(cloud, self.at_layer, request), *cloud.notes))
        notes = textwrap.wrap(said, max(width - 2, 8)) if height > ROOMY[1] else []
        told = [row([(f" {line}", palette.faint, False)], width, palette.background) for line in notes]
        return [row(head, width, palette.background), *scatter.rows(width - 1, height - 1 - len(told)), *told]

    def _not_yet(self, look: Look, cloud: Cloud, width: int, height: int) -> list[Strip]:
        """Why a layer is not there whose turn has not come."""
        seen, made = self.place.looks.of(look), len(cloud.points)
        there = f"layers 0 to {made - 1}" if made > 1 else "layer 0"
        said = f"layer {self.at_layer} comes later: {there} of {cloud.layers} are there"
        return self.message(f"{said} · {status_of_look(seen, self.place.desk)[0]}", False, width, height)

    def _legend(self, cloud: Cloud, width: int) -> list[Part]:
        """What the colours mean, and how many rows there are of each."""
        counts = Counter(cloud.modality)
        parts: list[Part] = []
        for modality in Modality:
            count = f" {counts[modality]:,}" if width >= ROOMY[0] else ""
            if counts[modality] and self.modality in (None, modality):
                if self.by_model:
                    parts.append((f" {modality}{count}", self.palette.faint, False))
                else:
                    parts.append((f" {KINDS[modality]} {modality}{count}", self.palette.kind(modality), False))
        return parts

    def card(self) -> Sequence[Section]:
        shown = [(self.slot(r), r, cloud) for r, cloud in zip(self.side_by_side, self.clouds, strict=True) if cloud]
        told = map_card(shown, self.at_layer) if shown else self.no_card(self.asked[0])
        if not self.which:
            return told
        said = f"models {self.which} are shown: {self.key('model')} goes on to the next"
        return [*told, Section("Side by side", (Row("", said),))]

    def records(self, *, everything: bool) -> Iterable[Record]:
        clouds = [cloud for cloud in self.clouds if cloud]
        last = max((len(cloud.points) for cloud in clouds), default=0)
        return cloud_records(clouds, range(last) if everything else [self.at_layer])

    def at_cursor(self) -> str:
        known = [cloud for cloud in self.clouds if cloud and self.at_layer < len(cloud.share)]  # t-SNE has no share
        said = (f"{cloud.model}: {cloud.share[self.at_layer]:.6g} of the variance" for cloud in known)
        return "\n".join(f"{line} on the plane of layer {self.at_layer}, {self.stream} stream" for line in said)

    # What the user does

    def action_layer(self, by: int) -> None:
        last = max(((cloud.layers or len(cloud.points)) - 1 for cloud in self.clouds if cloud), default=0)
        self.move_layer(by, last)

    def action_stream(self) -> None:
        self.stream = STREAMS[(STREAMS.index(self.stream) + 1) % len(STREAMS)]
        self.show()

    def action_projection(self) -> None:
        """By the main axes, or by t-SNE, which takes the worker some seconds a layer."""
        self.tsne = not self.tsne
        self.show()

    def action_whole(self) -> None:
        self.whole = not self.whole
        self.show()

    def action_colour(self) -> None:
        self.by_model = not self.by_model
        self.show()

    def action_filter(self) -> None:
        found = dict.fromkeys(m for cloud in self.clouds if cloud for m in cloud.modality)
        choices = (None, *sorted(found, key=tuple(Modality).index))
        now = choices.index(self.modality) if self.modality in choices else 0
        self.modality = choices[(now + 1) % len(choices)]
        self.show()

    def on_canvas_wheeled(self, message: Canvas.Wheeled) -> None:
        self.action_layer(message.by)
