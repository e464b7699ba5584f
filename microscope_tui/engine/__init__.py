"""Request to measurement: the pipeline behind the worker, the command line and `microscope_tui.measure`."""
