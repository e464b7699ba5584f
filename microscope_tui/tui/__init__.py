"""The explorer: layer profiles in the terminal, driven by keys, mouse and palette.

It imports only the light floors (terms, settings, catalogue, store, worker.client): starting it never
imports torch, transformers, datasets or numpy.
"""
