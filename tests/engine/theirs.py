"""The examples of a slice through transformers alone, and least squares by numpy: what looks are held against."""

import numpy as np
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from microscope_tui.catalogue.locate import locate_model
from microscope_tui.slices import open_slice, question_text
from microscope_tui.terms import Metric, Request, SliceSpec, Stream
from tests.sure import sure

COUNT = 24
REQUEST = Request(
    "demo:llava-next",
    SliceSpec("demo:scienceqa", count=COUNT, filter="image"),
    metrics=(Metric.ANISOTROPY,),
    streams=(Stream.RESIDUAL,),
    folds=3,
    max_batch=4,
)


class Theirs:
    """Every example of the slice through transformers alone."""

    def __init__(self):
        folder = sure(locate_model(REQUEST.model))
        self.network = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
        self.processor = AutoProcessor.from_pretrained(folder, backend="pil")
        slice_ = open_slice(REQUEST.slice)
        self.examples = [slice_.example(i) for i in range(len(slice_))]
        self.inputs = [self._inputs(example) for example in self.examples]
        self.states, self.logits = zip(*(self._run(inputs) for inputs in self.inputs), strict=True)
        self.image = [(i["input_ids"][0] == self.network.config.image_token_id).numpy() for i in self.inputs]

    def _inputs(self, example):
        content = [{"type": "image"}] * len(example.images) + [{"type": "text", "text": question_text(example)}]
        prompt = self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        return self.processor(text=prompt, images=list(example.images), return_tensors="pt")

    def _run(self, inputs):
        """L+1 states (T, d), the last before the final norm, and logits (T, V)."""
        raw = []
        language = self.network.model.language_model
        handle = language.layers[-1].register_forward_hook(
            lambda _m, _a, out: raw.append(out[0] if isinstance(out, tuple) else out)
        )
        with torch.no_grad():
            output = self.network(**inputs, output_hidden_states=True)
        handle.remove()
        states = [*output.hidden_states[:-1], raw[0].reshape(output.hidden_states[-1].shape)]
        return [h[0].double().numpy() for h in states], output.logits[0]

    def rows(self, layer, image, without=None, keep=lambda i, mask: mask):
        """All rows of a modality at a layer, but for those of one example."""
        picked = [i for i in range(len(self.states)) if i != without]
        masks = {i: keep(i, self.image[i] if image else ~self.image[i]) for i in picked}
        return np.concatenate([self.states[i][layer][masks[i]] for i in picked])


def left(rows_x, rows_y, x, y):
    """‖ỹ − x̃A‖²/mean‖ỹ‖² with everything from the rows."""
    mean_x, mean_y = rows_x.mean(0), rows_y.mean(0)
    a = np.linalg.lstsq(rows_x - mean_x, rows_y - mean_y, rcond=1e-12)[0]
    error = ((y - mean_y) - (x - mean_x) @ a) ** 2
    return error.sum(1) / ((rows_y - mean_y) ** 2).sum(1).mean()
