"""A picture of an example in its field: tinted by the values of its patches, and where there is room as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.strip import Strip

from microscope_tui.inspection import Thumbnail
from microscope_tui.tui.content.spans import Part
from microscope_tui.tui.widgets.canvas import row
from microscope_tui.tui.widgets.patches import Patches
from microscope_tui.tui.widgets.picture import picture_rows

TINTED, VALUES, BARE = "tinted", "values", "picture"
"""What is shown of a picture: its light below the colours of the values, those alone, or the picture as it is."""
LEAST_PICTURE = 6
"""Lines from which the picture is shown below its tinted self."""


@dataclass(frozen=True)
class PictureField:
    """One view of a picture. `tint` is what is shown of it, `key` the key of the next view; on a `thin` line the
    picture itself is not sent."""

    patches: Patches
    tint: str
    key: str
    thin: bool

    def rows(self, width: int, height: int) -> list[Strip]:
        patches, palette, tokens = self.patches, self.patches.palette, self.patches.tokens
        number, group = tokens.views[patches.view]
        name = f" picture {number + 1}" + (f" · {group}" if group else "")
        what = {
            TINTED: f"{patches.quantity.short} at layer {patches.layer}",
            VALUES: f"{patches.quantity.short} alone, layer {patches.layer}",
            BARE: "as it is",
        }[self.tint]
        head: list[Part] = [(name, palette.text, True), (f" · {what}", palette.faint, False)]
        if len(tokens.views) > 1:
            head.append((f"  {self.key} {patches.view + 1}/{len(tokens.views)}", palette.faint, False))
        rows = [row(head, width, palette.background)]
        if patches.picture is None:
            unknown = " the picture itself is not known: only its patches are shown"
            rows.append(row([(unknown, palette.warn, False)], width, palette.background))
        if self.tint == BARE and patches.coloured and patches.picture:
            return [*rows, *self._bare(patches.picture, width, height - len(rows))]
        rows += patches.rows(width, self._map_height(height - len(rows)))
        if self._both and height - len(rows) > LEAST_PICTURE and patches.picture:
            rows += [row([], width, palette.background)]
            rows += self._bare(patches.picture, width, height - len(rows))
        return rows

    def token_at(self, x: int, y: int, width: int, height: int) -> int | None:
        """The token whose patch is at a place of the field."""
        above = 1 if self.patches.picture else 2
        return self.patches.token_at(x, y - above, width, self._map_height(height - above))

    def _bare(self, picture: Thumbnail, width: int, height: int) -> Sequence[Strip]:
        return picture_rows(picture, width, height, self.patches.palette.background, ascii=self.patches.ascii)

    def _map_height(self, room: int) -> int:
        """Lines for the patch map."""
        return room * 2 // 3 if self._both and room >= 3 * LEAST_PICTURE else room

    @property
    def _both(self) -> bool:
        """Whether the picture itself stands below its tinted self, where there is room for both."""
        return self.patches.coloured and not self.thin and self.patches.picture is not None
