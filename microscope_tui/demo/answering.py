"""What a demo model answers: scores of the token after the prompt, by the same processors as anybody's use."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    CLIPVisionModel,
    MistralForCausalLM,
)  # fmt: skip
from transformers.utils import logging as transformers_logging

from microscope_tui.demo.arms import Adapter
from microscope_tui.errors import MicroscopeError

Prompt = tuple[str, Image | None]
"""The question in words, and its picture."""


class Answerer(ABC):
    """A loaded model. `first_ids` gives the token that a choice's words, or a letter, begin with."""

    @abstractmethod
    def scores(self, prompts: Sequence[Prompt]) -> Tensor:
        """(n, vocabulary): the logits of the first token of each answer."""

    @abstractmethod
    def first_ids(self, texts: Sequence[str]) -> list[int]: ...

    @staticmethod
    def load(folder: Path) -> Answerer:
        """The model in a folder of the hub's layout or of OmniFusion's."""
        if not folder.is_dir():
            raise MicroscopeError(f"There is no model in {folder}: make demo-train makes those that are not shipped.")
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers types it not
        return OmniFusion(folder) if (folder / "omnifusion.json").exists() else Llava(folder)


class Llava(Answerer):
    def __init__(self, folder: Path) -> None:
        loader: Any = AutoProcessor
        self._processor: Any = loader.from_pretrained(folder, backend="pil")
        model: Any = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        )
        self._model = model.eval()

    @torch.inference_mode()
    def scores(self, prompts: Sequence[Prompt]) -> Tensor:
        pictures = [picture for _, picture in prompts if picture is not None]
        inputs = self._processor(
            text=[self._chat(*prompt) for prompt in prompts],
            images=pictures or None,
            padding=True,
            return_tensors="pt",
        )
        logits: Tensor = self._model(**inputs, logits_to_keep=1).logits[:, -1]
        return logits

    def _chat(self, text: str, picture: Image | None) -> str:
        content = [{"type": "image"}] if picture is not None else []
        message = {"role": "user", "content": [*content, {"type": "text", "text": text}]}
        chat: str = self._processor.apply_chat_template([message], add_generation_prompt=True)
        return chat

    def first_ids(self, texts: Sequence[str]) -> list[int]:
        return _first_ids(self._processor.tokenizer, texts)


class OmniFusion(Answerer):
    """prompt + SOI + picture + EOI + USER + question + BOT, as embeddings; without a picture, no SOI and EOI."""

    def __init__(self, folder: Path) -> None:
        settings = json.loads((folder / "omnifusion.json").read_text())
        self._prompt, self._layer = settings["prompt"], settings["vision_feature_layer"]
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder / "tokenizer")
        tower = folder / settings["vision_tower"]
        loader: Any = AutoImageProcessor
        self._images: Any = loader.from_pretrained(tower, backend="pil")
        vision: Any = CLIPVisionModel.from_pretrained(tower, dtype=torch.float32)
        decoder: Any = MistralForCausalLM.from_pretrained(
            folder / "tuned-model", dtype=torch.float32, attn_implementation="eager"
        )
        self._vision, self._decoder = vision.eval(), decoder.eval()
        self._adapter = Adapter(settings["activation"])
        special = load_file(folder / "special_embeddings.safetensors")
        state = load_file(folder / "projection.safetensors") | {f"vectors.{k}": v for k, v in special.items()}
        self._adapter.load_state_dict(state)
        self._adapter.float().eval()

    @torch.inference_mode()
    def scores(self, prompts: Sequence[Prompt]) -> Tensor:
        rows = [self._embedded(*prompt) for prompt in prompts]
        longest = max(map(len, rows))
        padded = torch.stack([torch.nn.functional.pad(row, (0, 0, longest - len(row), 0)) for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        logits: Tensor = self._decoder(inputs_embeds=padded, attention_mask=mask, logits_to_keep=1).logits[:, -1]
        return logits

    def _embedded(self, text: str, picture: Image | None) -> Tensor:
        vectors = {name: vector[None] for name, vector in self._adapter.vectors.items()}
        parts = [self._words(self._prompt)]
        if picture is not None:
            pixels = self._images(picture, return_tensors="pt")["pixel_values"]
            states = self._vision(pixels, output_hidden_states=True).hidden_states[self._layer]
            projected = self._adapter.linear(self._adapter.transformer_layer(states[:, 1:]))[0]
            parts += [vectors["SOI"], projected, vectors["EOI"]]
        return torch.cat([*parts, vectors["USER"], self._words(text), vectors["BOT"]])

    def _words(self, text: str) -> Tensor:
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        rows: Tensor = self._decoder.get_input_embeddings()(torch.tensor(ids))
        return rows

    def first_ids(self, texts: Sequence[str]) -> list[int]:
        return _first_ids(self._tokenizer, texts)


def _first_ids(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    return [tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in texts]
