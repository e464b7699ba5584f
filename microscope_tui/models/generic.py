"""Any image-, video- or audio-text model of transformers, by its Auto classes and by rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor
from transformers import AutoConfig, AutoModelForMultimodalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_MULTIMODAL_LM_MAPPING

from microscope_tui.errors import BadExample, MicroscopeError, one_line
from microscope_tui.models.base import Batch, OpenModel, Part
from microscope_tui.models.before import find_tower
from microscope_tui.models.blocks import find_decoder
from microscope_tui.models.groups import NO_GROUP, SPECIAL, cuts_pictures, packing_of, unknown_tiles
from microscope_tui.models.identity import check_files
from microscope_tui.models.loading import NeedsTorchvision, Place, computes_on, load_weights, read_part, unused_note
from microscope_tui.models.media import NOUNS, processor_inputs, shown_by
from microscope_tui.models.meter import OnProgress
from microscope_tui.models.modality import CODES, modality_codes, placeholder_ids
from microscope_tui.models.patches import one_view_boxes
from microscope_tui.models.probe import probe, shown_first
from microscope_tui.models.processors import lacks_video, read_processor
from microscope_tui.models.prompts import BARE, PLAIN, Form, Text, bare, forms
from microscope_tui.models.quiet import quiet
from microscope_tui.slices.examples import Example
from microscope_tui.terms import Modality, Progress

WIDE = (1536, 512)
"""Pixels of a picture that every model cuts which cuts any."""


class GenericModel(OpenModel):
    """A multimodal model of transformers with its processor."""

    def __init__(
        self,
        name: str,
        folder: Path,
        network: Any,
        processor: Any,
        placeholders: Mapping[Modality, int],
        *,
        place: Place,
        one_tile: bool = False,
    ) -> None:
        super().__init__()
        self.place = place
        self.name, self.folder = name, folder
        self.network, self.processor = network, processor
        self.tokenizer = processor.tokenizer
        self.decoder = find_decoder(network)
        self.text = Text(self.tokenizer, placeholders, _placeholder_strings(processor))
        self.placeholders = _served(name, processor, placeholders)
        self.modalities = (Modality.TEXT, *self.placeholders)
        self.architecture = type(network).__name__
        text_config = network.config.get_text_config(decoder=True)
        self.context = getattr(text_config, "max_position_embeddings", None)
        self.attention = str(text_config._attn_implementation)
        self.tokenizer.padding_side = "right"
        self.tower = find_tower(network) if Modality.IMAGE in self.placeholders else None
        self.packing = packing_of(network)
        self.groups = (SPECIAL, *(self.packing.names if self.packing else ()))
        if one_tile and self.packing is not None:
            self.packing.one_tile()
            self.one_tile = True
        self.form, self.text_alone = self._working_form()
        self.tiles = self.packing is not None or self._cuts_pictures()
        if one_tile and self.tiles and self.packing is None:
            raise unknown_tiles(name)
        self.template = f"{self.form.name}, one tile" if self.one_tile else self.form.name
        if self.form.name in (PLAIN, BARE):
            self.notes += ("This model has no usable chat template: its prompt is the question alone.",)
        if len(self.placeholders) < len(placeholders):
            self.notes += ("Its videos need torchvision, which is not installed here: all else is measured.",)

    @property
    def input_device(self) -> torch.device:
        return computes_on(self.network.get_input_embeddings())

    def embed(self, ids: Tensor) -> Tensor:
        table = self.network.get_input_embeddings()
        ids = ids.to(self.input_device)
        size = getattr(table, "num_embeddings", None)
        rows: Tensor = table(ids if size is None else ids.where(ids < size, 0))
        return rows

    def forward(self, part: Part, **options: Any) -> Any:
        return self.network(**part.inputs, use_cache=False, **options)

    def prepare(self, examples: Sequence[Example]) -> Batch:
        with quiet():
            texts = [self.text(example) for example in examples]
            alike: dict[tuple[Modality, ...], list[int]] = {}
            for i, example in enumerate(examples):
                alike.setdefault(tuple(shown_by(example)), []).append(i)
            parts = []
            for _, chosen in sorted(alike.items()):
                inputs = self._process([examples[i] for i in chosen], [texts[i] for i in chosen])
                parts.append(self._part(inputs, chosen, examples))
        return Batch(tuple(example.key for example in examples), tuple(parts))

    def _process(self, examples: Sequence[Example], texts: Sequence[str]) -> Mapping[str, Any]:
        """The processor's output for examples that show the same kinds of things; `BadExample` names a culprit."""
        for example in examples:
            shown = shown_by(example)
            if foreign := next((modality for modality in shown if modality not in self.modalities), None):
                without = " without torchvision" if foreign is Modality.VIDEO and lacks_video(self.processor) else ""
                raise BadExample(example.key, f"it has a {NOUNS[foreign]} and {self.name} takes none{without}")
            if not shown and not self.text_alone:
                what = NOUNS[next(iter(self.placeholders))]
                raise BadExample(example.key, f"it has no {what} and {self.name} takes no text without one")
        try:
            return self._inputs(self.form, examples, texts)
        except Exception as error:  # a processor or a chat template may raise anything over an example it cannot use
            if len(examples) == 1:
                raise BadExample(examples[0].key, f"the model's processor cannot use it ({one_line(error)})") from error
        for example, text in zip(examples, texts, strict=True):
            self._process([example], [text])
        raise MicroscopeError(
            f"The processor of {self.name} takes {examples[0].key} … {examples[-1].key} one by one but not together: "
            "measure with a batch of one."
        )

    def _inputs(self, form: Form, examples: Sequence[Example], texts: Sequence[str]) -> Mapping[str, Any]:
        prompts = [form.render(shown_by(example), text) for example, text in zip(examples, texts, strict=True)]
        bos = self.tokenizer.bos_token
        hearing = getattr(self.processor, "feature_extractor", None) or getattr(self.processor, "audio_processor", None)
        inputs: Mapping[str, Any] = self.processor(
            text=prompts,
            **processor_inputs(examples, getattr(hearing, "sampling_rate", None)),
            padding=True,
            return_tensors="pt",
            add_special_tokens=not (bos and prompts[0].startswith(bos)),
        )
        if self.packing is not None and self.one_tile:
            image = inputs["input_ids"] == self.placeholders[Modality.IMAGE]
            return self.packing.reduced(inputs, image, self.tokenizer.pad_token_id)
        return inputs

    def _group_codes(self, inputs: Mapping[str, Any], ids: Tensor, codes: Tensor) -> Tensor:
        """(B, T) int8: the index into `groups` of each position. Raises `MicroscopeError` when pictures do not fit."""
        special = torch.isin(ids, torch.tensor(sorted(self.text.control))) & (codes == CODES[Modality.TEXT])
        groups = torch.where(special, self.groups.index(SPECIAL), NO_GROUP).to(torch.int8)
        if self.packing is not None and Modality.IMAGE in self.placeholders:
            image, labels = codes == CODES[Modality.IMAGE], self.packing.labels(inputs)
            if int(image.sum()) != len(labels):
                raise MicroscopeError(
                    f"The parts of the pictures of {self.name} are {len(labels)} positions and its processor made "
                    f"{int(image.sum())}: its configuration and its processor do not belong together."
                )
            groups[image] = labels + len(self.groups) - len(self.packing.names)
        return groups

    def _part(self, inputs: Mapping[str, Any], chosen: Sequence[int], examples: Sequence[Example]) -> Part:
        ids, valid = inputs["input_ids"], inputs["attention_mask"].bool()
        codes = modality_codes(ids, valid, self.placeholders)
        for row, index in enumerate(chosen):
            # A processor without a part for a modality leaves out what there is of it.
            for modality in shown_by(examples[index]):
                if not bool((codes[row] == CODES[modality]).any()):
                    reason = f"the processor of {self.name} makes no positions of its {NOUNS[modality]}"
                    raise BadExample(examples[index].key, reason)
            length = int(valid[row].sum())
            if self.context is not None and length > self.context:
                raise BadExample(
                    examples[index].key,
                    f"it has {length:,} tokens and the context of {self.name} holds {self.context:,}",
                )
        device, dtype = self.input_device, self.network.dtype
        groups = self._group_codes(inputs, ids, codes)
        return Part(
            inputs={name: _placed(value, device, dtype) for name, value in inputs.items() if name != "labels"},
            example=torch.tensor(chosen, device=device),
            valid=valid.to(device),
            modality=codes.to(device),
            group=groups.to(device),
            ids=ids.to(device),
            replaced=(codes > 0).to(device),
            views=self._views(inputs, [len(examples[i].images) for i in chosen]),
        )

    def boxes(self, part: Part, pictures: Sequence[Image]) -> Tensor | None:
        if self.packing is not None:
            return self.packing.boxes(part.inputs)
        tokens = int((part.modality == CODES[Modality.IMAGE]).sum())
        tower = getattr(self.network.config, "vision_config", None)
        return one_view_boxes(part.inputs, tokens, pictures, tower, getattr(self.processor, "image_processor", None))

    def _views(self, inputs: Mapping[str, Any], pictures: Sequence[int]) -> Tensor | None:
        """(B,) views of each example's pictures, as the packing has them."""
        if self.packing is None:
            return None
        of_picture = torch.split(self.packing.views(inputs), list(pictures))
        return torch.stack([views.sum() for views in of_picture]).to(self.input_device)

    def _working_form(self) -> tuple[Form, bool]:
        """The first form that the processor accepts, and whether it also takes text without a picture."""
        tokens = {
            modality: str(getattr(self.processor, f"{modality}_token", None) or self.tokenizer.convert_ids_to_tokens(i))
            for modality, i in self.placeholders.items()
        }
        first = shown_first(self)
        problem = "it has no form of prompt"
        with quiet():
            for form in forms(self.processor, self.tokenizer, tokens):
                try:
                    count = self._try(form, probe(first), self.placeholders[first])
                    if form.name == PLAIN and count == self._placed_by_itself(probe(first)) + 1 > 1:
                        form = Form(BARE, bare)
                except Exception as error:  # as above: then the next form is tried
                    problem = one_line(error)
                    continue
                try:
                    self._try(form, probe(Modality.TEXT), None)
                except Exception:  # as above: this family takes no text alone
                    return form, False
                asked = signature(type(self.network).forward).parameters.get("pixel_values")
                return form, asked is None or asked.default is not asked.empty
        raise MicroscopeError(
            f"The processor of {self.name} cannot make inputs of a {NOUNS[first]} and a question ({problem})."
        )

    def _cuts_pictures(self) -> bool:
        """Whether a picture that is large and not square becomes several views; also where that cannot be told."""
        if Modality.IMAGE not in self.placeholders:
            return False
        example = probe(Modality.IMAGE)
        wide = replace(example, images=(example.images[0].resize(WIDE),))
        with quiet():
            try:
                return cuts_pictures(self._inputs(self.form, [wide], [self.text(wide)]))
            except Exception:  # a processor may raise anything over a picture it cannot use
                return True

    def _placed_by_itself(self, example: Example) -> int:
        """The positions that the processor makes of what is shown where the prompt names none (BLIP-2): 0 for most.

        It makes them in addition to a placeholder in the prompt, which then stands for nothing.
        """
        try:
            return self._try(Form(BARE, bare), example, self.placeholders[next(iter(shown_by(example)))])
        except Exception:  # as above: it takes no prompt without placeholders
            return 0

    def _try(self, form: Form, example: Example, placeholder: int | None) -> int:
        """How many positions of the inputs have the placeholder's id. Raises anything where the form does not serve."""
        text = self.text(example)
        if example.question not in form.render(shown_by(example), text):
            raise ValueError("the chat template leaves the question out")
        inputs = self._inputs(form, [example], [text])
        count = 0 if placeholder is None else int((inputs["input_ids"] == placeholder).sum())
        if placeholder is not None and not count:
            raise ValueError(f"the prompt has no token {placeholder}, which marks what is shown")
        return count


def load_generic(
    name: str, folder: Path, place: Place, on_progress: OnProgress, *, one_tile: bool = False
) -> GenericModel:
    """Open a multimodal checkpoint of transformers. Raises `MicroscopeError`."""
    check_files(folder)
    config = multimodal_config(name, folder)
    placeholders = known_placeholders(name, config)
    on_progress(Progress("loading processor"))
    processor = read_processor(name, folder, config)
    network, unused = load_weights(AutoModelForMultimodalLM, name, folder, place, config=config)
    model = GenericModel(name, folder, network, processor, placeholders, place=place, one_tile=one_tile)
    model.notes += unused_note(unused)
    return model


def known_placeholders(name: str, config: Any) -> Mapping[Modality, int]:
    """See `placeholder_ids`. Raises `MicroscopeError` where there are none."""
    placeholders = placeholder_ids(config)
    if not placeholders:
        raise MicroscopeError(
            f"The configuration of {name} ({config.model_type}) names no token id for pictures, video or sound, so its "
            "positions cannot be told apart."
        )
    return placeholders


def multimodal_config(name: str, folder: Path) -> Any:
    """The configuration of a multimodal checkpoint. Raises `MicroscopeError` for another kind of model."""
    config = read_part(AutoConfig, "its configuration", name, folder)
    if type(config) not in MODEL_FOR_MULTIMODAL_LM_MAPPING:
        raise MicroscopeError(
            f"{name} is a {config.model_type} model, which takes text only or is not a language model: "
            "choose one that takes pictures, video or sound beside text."
        )
    if any(getattr(part, "is_encoder_decoder", False) for part in (config, config.get_text_config(decoder=True))):
        raise MicroscopeError(
            f"{name} is a {config.model_type} model with an encoder that reads pictures and text, so that its decoder "
            "sees only what it answers: choose a model with a decoder alone."
        )
    return config


def _served(name: str, processor: Any, placeholders: Mapping[Modality, int]) -> Mapping[Modality, int]:
    """The placeholders that a processor serves. Raises `NeedsTorchvision` for a model of videos alone without it."""
    served = {m: i for m, i in placeholders.items() if m is not Modality.VIDEO or not lacks_video(processor)}
    if not served:
        raise NeedsTorchvision.by(name)
    return served


def _placeholder_strings(processor: Any) -> set[str]:
    """Every text that a processor looks for to put a picture, video or sound in its place."""
    names = (f"{kind}_token" for kind in ("image", "video", "audio", "boi", "fake_image"))
    return {str(token) for name in names if (token := getattr(processor, name, None))}


def _placed(value: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """An input on the device, in the model's precision if it is not of whole numbers."""
    if not isinstance(value, Tensor):
        return value
    return value.to(device, dtype) if value.is_floating_point() else value.to(device)
