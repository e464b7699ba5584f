"""The demo: two small trained models that differ only in how they join picture and text, and a slice to ask them.

The data (`models/`, `slices/`) is found by `microscope_tui.catalogue.listing` and needs none of the code here. The code
made it: `questions` and `drawing` write the questions, `train` trains, `build` packs, `evaluate` scores.
"""
