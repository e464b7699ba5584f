"""A checkpoint's processor of text and more, its part for video apart.

Pictures are made by PIL wherever a family has that, so that they are the same everywhere. The part for video exists for
torchvision alone: it is read by itself, and where torchvision is missing it is left out, so that these families can be
measured on pictures all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoProcessor, PreTrainedTokenizerBase
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from microscope_tui.catalogue.checkpoints import read_json
from microscope_tui.errors import MicroscopeError
from microscope_tui.models.loading import LOCAL, read_part

VIDEO = "video_processor"

NAMING = (
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "tokenizer_config.json",
)
"""The files that may name a processor's class, in transformers' order."""

TOKENIZERS = ("tokenizer.*", "vocab*", "*.model", "tekken*")
"""What files of tokenizers are called, of which there must be one."""


class NoVideo:
    """Stands for the part for video where it cannot be read: whatever processors ask of it is None."""

    model_input_names: Sequence[str] = ()

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):  # what Python itself asks for
            raise AttributeError(name)


def read_processor(name: str, folder: Path, config: Any) -> Any:
    """The processor of a checkpoint with this configuration; without torchvision it takes no videos.

    Raises `NeedsTorchvision` for one that needs it for pictures as well, and `MicroscopeError`.
    """
    kind = _kind(folder, config)
    reader = AutoProcessor if kind is None else in_parts(kind)
    absent = MicroscopeError(
        f"{name} has no processor for pictures and text (processor_config.json or preprocessor_config.json): "
        "download it again."
    )
    if not any((folder / file).is_file() for file in NAMING[:-1]):
        raise absent
    if not any(any(folder.glob(pattern)) for pattern in TOKENIZERS):
        raise MicroscopeError(f"{name} has no tokenizer (tokenizer.json): download it again.")
    processor = read_part(reader, "its processor", name, folder, backend="pil")
    if isinstance(processor, PreTrainedTokenizerBase) or not hasattr(processor, "tokenizer"):
        raise absent
    if getattr(processor, VIDEO, True) is None:
        processor.video_processor = NoVideo()
    return processor


def lacks_video(processor: Any) -> bool:
    """Whether a processor was put together without its part for video."""
    return isinstance(getattr(processor, VIDEO, None), NoVideo)


def _kind(folder: Path, config: Any) -> Any:
    """The class of a folder's processor if it is one of transformers with a part for video, else None."""
    files = (folder / file for file in NAMING)
    classes = (read_json(file).get("processor_class") for file in files if file.is_file())
    named = next(filter(None, classes), None)
    # There may be no such class, or it may need torchvision itself: that is for AutoProcessor to say.
    try:
        kind: Any = getattr(transformers, str(named)) if named else PROCESSOR_MAPPING[type(config)]
        return kind if VIDEO in kind.get_attributes() else None
    except (AttributeError, ImportError, KeyError):
        return None


def in_parts(kind: Any) -> Any:
    """`kind`, a class of processors, with its part for video read by itself.

    `get_attributes` names the parts in their order, `_get_arguments_from_pretrained` reads them, and
    `check_argument_for_proper_class` judges each.
    """
    parts = kind.get_attributes()

    class Others(kind):  # type: ignore[misc]  # a class that is known when it runs
        @classmethod
        def get_attributes(cls) -> list[str]:
            return [part for part in parts if part != VIDEO]

    class InParts(kind):  # type: ignore[misc]  # as above
        @classmethod
        def _get_arguments_from_pretrained(
            cls, folder: Path, processor_dict: Mapping[str, Any] | None = None, **options: Any
        ) -> list[Any]:
            others = Others._get_arguments_from_pretrained(folder, processor_dict, **options)
            read = dict(zip(Others.get_attributes(), others, strict=True))
            return [read[part] if part in read else _video_part(folder) for part in parts]

        def check_argument_for_proper_class(self, part: str, value: Any) -> Any:
            if part == VIDEO and value is None:
                return type(None)
            return super().check_argument_for_proper_class(part, value)

    return InParts


def _video_part(folder: Path) -> Any:
    if find_spec("torchvision") is None:
        return None
    reader: Any = transformers.AutoVideoProcessor  # which is not typed
    return reader.from_pretrained(folder, **LOCAL)
