"""A data set in, examples and prompts out. Pillow, pyarrow and datasets; no torch.

`open_slice(SliceSpec(…))` finds the data (hub id, folder, file or `demo:NAME`), draws the examples and gives a
`Slice`, whose pictures are decoded one example at a time, when asked for. Everything wrong with the data
as a whole is a `MicroscopeError` at opening; what is wrong with one row is a `BadExample` when it is its turn.
"""

from microscope_tui.slices.examples import Example
from microscope_tui.slices.prompts import question_text
from microscope_tui.slices.slice import Slice, open_slice
from microscope_tui.slices.sound import Audio

__all__ = ["Audio", "Example", "Slice", "open_slice", "question_text"]
