"""The stages before the decoder: their rows summed up as the decoder's are, to stand before its layer 0.

The vision tower's states and the connector's output are sets of rows of their own, of other widths. Where the rows of
one stage are those of the next (the same patch, or the same token), the linearity of the step between them is known
too: tower to connector, connector to h_0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from microscope_tui.engine.left_out import LeftOut, Prefixes, sink_rows
from microscope_tui.engine.plan import Plan, step_widths
from microscope_tui.engine.rows import KeptRows, below
from microscope_tui.geometry.moments import Moments
from microscope_tui.models.base import Captured
from microscope_tui.models.before import CONNECTOR, TOWER
from microscope_tui.slices import Example
from microscope_tui.terms import Modality, Stream

Shapes = Mapping[str, tuple[int, int]]
"""Of each stage its number of states and their width."""

SUMS = ("mean_x", "mean_y", "xx", "xy", "yy")


class Step:
    """Paired rows on both sides of the step that leaves a stage, in groups of examples.

    `apart` is True once some rows could not be paired: then nothing is known of the step.
    """

    def __init__(self, widths: tuple[int, int], plan: Plan) -> None:
        self.folds = [Moments.empty(*widths, device=plan.device) for _ in range(plan.folds)]
        self.dtype = plan.dtype
        self.apart = False

    def update(self, x: Tensor, y: Tensor, place: Tensor) -> None:
        """Add rows x (n, d), y (n, e); `place` (n,) is that of each row's example in the slice."""
        fold = place.remainder(len(self.folds))
        for k in sorted(set(fold.tolist())):
            chosen = (fold == k).nonzero().squeeze(1)
            pair = [rows[chosen.to(rows.device)].to(self.folds[k].xx.device) for rows in (x, y)]
            self.folds[k].update(*pair, dtype=self.dtype)

    def state_dict(self) -> dict[str, Tensor]:
        """All of it as a flat dict of tensors on the CPU."""
        state = {"apart": torch.tensor(self.apart)}
        for number, fold in enumerate(self.folds):
            state |= {f"fold{number}.{name}": getattr(fold, name).cpu().contiguous() for name in SUMS}
            state[f"fold{number}.counts"] = torch.tensor([fold.n, fold.nonfinite, fold.left_out])
        return state

    @property
    def nbytes(self) -> int:
        """About the bytes of `state_dict`."""
        return sum(fold.xx.nbytes + fold.xy.nbytes + fold.yy.nbytes for fold in self.folds)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` gave."""
        self.apart = bool(state["apart"])
        for number, fold in enumerate(self.folds):
            own = below(state, f"fold{number}.")
            fold.n, fold.nonfinite, fold.left_out = own["counts"].tolist()
            for name in SUMS:
                setattr(fold, name, own[name].to(fold.xx.device))


class Stages:
    """What is kept of the stages before the decoder, by their names, and of the steps that leave them."""

    def __init__(self, shapes: Shapes, *, plan: Plan, budget: int) -> None:
        self.rows = {
            name: KeptRows(states - 1, width, plan=plan, budget=budget) for name, (states, width) in shapes.items()
        }
        self.steps = {name: Step(widths, plan) for name, widths in step_widths(shapes).items()}

    def add(
        self,
        captured: Captured,
        examples: Sequence[Example],
        hashes: Tensor,
        places: Tensor,
        left_out: LeftOut,
        prefixes: Prefixes | None,
    ) -> None:
        """Add a captured batch: `hashes` and `places` (B,) are of its examples."""
        counted: dict[str, Tensor] = {}
        for name, stage in captured.before.items():
            number, position = stage.example.cpu(), stage.position.cpu()
            keep = torch.ones(len(number), dtype=torch.bool)
            if left_out.sinks:
                keep &= ~sink_rows(stage.rows, number)
            if prefixes is not None:
                keep &= ~prefixes.repeated_in(name, examples, number, position)
            counted[name] = keep
            self.rows[name].update(stage.rows, keep, hashes[number], position, places[number])
        if captured.before:
            self._add_steps(captured, counted, places, left_out)

    def _add_steps(self, captured: Captured, counted: Mapping[str, Tensor], places: Tensor, left_out: LeftOut) -> None:
        tower, connector = captured.before[TOWER], captured.before[CONNECTOR]
        (out,), entered = connector.rows, captured.rows[Stream.RESIDUAL][0]
        image = captured.mask(Modality.IMAGE).cpu()
        # The rows that enter the decoder, in order: those of the connector, where they are as many of each example.
        entered = entered[image.nonzero().squeeze(1).to(entered.device)]
        goes_on = captured.mask(Modality.IMAGE, without=left_out.codes).cpu()[image]
        here, there, last = (numbers.cpu() for numbers in (tower.example, connector.example, captured.example))
        same_patches = torch.equal(here, there) and torch.equal(tower.position, connector.position)
        pairs = {
            TOWER: (tower.rows[-1], out, counted[TOWER], counted[CONNECTOR], same_patches),
            CONNECTOR: (out, entered, counted[CONNECTOR], goes_on, torch.equal(there, last[image])),
        }
        for name, (x, y, keep, keep_there, paired) in pairs.items():
            step = self.steps[name]
            step.apart |= not paired
            if not step.apart:
                index = (keep & keep_there).nonzero().squeeze(1)
                step.update(x[index.to(x.device)], y[index.to(y.device)], places[there[index]])

    def parts(self) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """The state of all of it, by name."""
        for name, rows in self.rows.items():
            for part, state in rows.parts():
                yield f"{name}.{part}", state
        for name, step in self.steps.items():
            yield f"step from {name}", step.state_dict()

    def load_parts(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `parts` gave."""
        for name, rows in self.rows.items():
            rows.load_parts(below(state, f"{name}."))
        for name, step in self.steps.items():
            step.load_state(below(state, f"step from {name}."))

    @property
    def nbytes(self) -> int:
        """About the bytes of `parts`."""
        return sum(rows.nbytes for rows in self.rows.values()) + sum(step.nbytes for step in self.steps.values())
