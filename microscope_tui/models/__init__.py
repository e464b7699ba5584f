"""A checkpoint in, rows tagged with modality and stream out.

`load.open_model` names to loaded models, `base` what an open model is, `capture` hooks to streams, `modality`
which position is what, `omnifusion` its own sequence. `identity` knows checkpoints as files and never imports torch.
"""
