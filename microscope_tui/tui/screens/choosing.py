"""Models and slices are chosen: the pickers of the explorer, and where each leads."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from microscope_tui.catalogue.locate import full_name
from microscope_tui.terms import Request, SliceSpec
from microscope_tui.tui import session as moves
from microscope_tui.tui.data.source import Source
from microscope_tui.tui.keys import key_of
from microscope_tui.tui.screens.exporting import Exporting
from microscope_tui.tui.session import Session
from microscope_tui.tui.state import Remembered

if TYPE_CHECKING:
    from microscope_tui.tui.data.looks import Looks


class Choosing(Exporting):
    """A screen whose models and slices are chosen from lists."""

    source: Source
    watchers: list[Callable[[], None]]
    remembered: Remembered

    @property
    @abstractmethod
    def looks(self) -> Looks:
        """What was asked of single examples and rows."""

    def action_pick_model(self) -> None:
        self._pick_model("Model to look at", self.session.models[0], moves.choose_model)

    def action_compare(self) -> None:
        """Lay another model over the first."""
        if self._room():
            self._pick_model(f"Model to lay over {self.session.models[0]}", "", moves.lay_over)

    def action_compare_slice(self) -> None:
        """Lay the first model on another slice over the others."""
        if self._room():
            title = f"Slice to lay over {self.session.slice}"
            self._pick_slice(title, "", moves.lay_slice_over)

    def _room(self) -> bool:
        if len(self.session.slots) < moves.MOST:
            return True
        self.notify(
            f"{moves.MOST} curves are as many as can be told apart: {key_of('take_off')} takes one off.",
            severity="warning",
        )
        return False

    def _pick_model(self, title: str, current: str, move: Callable[[Session, str], Session]) -> None:
        hint = "type to search, or a hub id, or a folder"
        self._pick(title, hint, current, move, slices=False)

    def action_pick_slice(self) -> None:
        self._pick_slice("Slice of a data set", str(self.session.slice), moves.choose_slice)

    def _pick_slice(self, title: str, current: str, move: Callable[[Session, SliceSpec], Session]) -> None:
        def moved(session: Session, text: str) -> Session:
            return move(session, SliceSpec.parse(text))

        hint = "type to search, or SOURCE?filter=image&count=200"
        self._pick(title, hint, current, moved, slices=True)

    def _pick(
        self,
        title: str,
        hint: str,
        current: str,
        move: Callable[[Session, str], Session],
        *,
        slices: bool,
    ) -> None:
        """Have a name chosen, and go where `move` leads from here with it."""
        from microscope_tui.tui.content.offers import Shop
        from microscope_tui.tui.content.peek import Peek
        from microscope_tui.tui.screens.picker import Picker  # the screens that wait are imported when they come

        session = self.session

        def meant(name: str) -> list[Request]:
            """The requests of the session that would come which are of this name."""
            requests = move(session, name).requests(self.settings)
            spec = moves.choose_slice(session, SliceSpec.parse(name)).slice if slices else None
            return [r for r in requests if (r.slice == spec if slices else r.model == full_name(name))]

        def chosen(name: str | None) -> None:
            if name is None:
                return
            moved = move(self.session, name)
            if not current and moved == self.session:
                self.notify("That is shown already: choose another one to compare it with.", severity="warning")
            self.change(moved)

        def favour(name: str) -> bool:
            now = self.remembered
            now = now.favoured(slice=name) if slices else now.favoured(model=full_name(name))
            self.remembered = now
            return (name in now.favourite_slices) if slices else (full_name(name) in now.favourite_models)

        names = self.remembered.after(session)
        recent = names.slices if slices else names.models
        favourites = names.favourite_slices if slices else names.favourite_models
        shop = Shop(self.source, self.settings, meant, slices, recent, favourites)
        peek = Peek(self.looks, self.watchers, meant) if slices else None
        self.app.push_screen(Picker(title, hint, current, shop, favour, peek), chosen)
