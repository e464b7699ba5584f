"""Which position is what: from token ids and the ids that the configuration names, checked against embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from microscope_tui.errors import MicroscopeError
from microscope_tui.terms import Modality

CODES: Mapping[Modality, int] = {modality: code for code, modality in enumerate(Modality)}
"""The number that stands for a modality in tensors."""

PADDING = -1

FOREIGN = (Modality.IMAGE, Modality.VIDEO, Modality.AUDIO)
"""The modalities whose positions carry embeddings that an encoder made."""


def placeholder_ids(config: Any) -> dict[Modality, int]:
    """The token id that marks each modality's positions, by the first of these places that names one.

    `config.{modality}_token_id`, then `config.thinker_config` (Qwen Omni), then `config.vision_config.image_token_id`
    and `config.audio_config.audio_token_id` (Phi-4). A processor's ids are never used: Gemma 3's marks the beginning
    of a picture. A video that shares its id with pictures counts as pictures.
    """
    found: dict[Modality, int] = {}
    for modality in FOREIGN:
        name = f"{modality}_token_id"
        own_part = _get(config, "audio_config" if modality is Modality.AUDIO else "vision_config")
        for place in (config, _get(config, "thinker_config"), own_part):
            value = _get(place, name)
            if isinstance(value, int) and value >= 0:
                if value not in found.values():
                    found[modality] = value
                break
    return found


def modality_codes(ids: Tensor, valid: Tensor, placeholders: Mapping[Modality, int]) -> Tensor:
    """(B, T) int8 codes of positions: a placeholder's modality, text elsewhere, −1 on padding."""
    codes = torch.full_like(ids, CODES[Modality.TEXT], dtype=torch.int8)
    for modality, placeholder in placeholders.items():
        codes[ids == placeholder] = CODES[modality]
    codes[~valid] = PADDING
    return codes


def check_counts(codes: Tensor, valid: Tensor) -> None:
    """Raise `MicroscopeError` unless text and the other modalities together are exactly the unpadded positions."""
    counted = torch.stack([(codes == code).sum(1) for code in CODES.values()]).sum(0)
    if not torch.equal(counted, valid.sum(1)) or bool((codes[~valid] != PADDING).any()):
        raise MicroscopeError(
            f"The positions of text and of the other modalities add up to {int(counted.sum())}, "
            f"but the unpadded inputs have {int(valid.sum())}: this model's positions cannot be told apart."
        )


def check_embeddings(embedded: Tensor, table: Tensor, replaced: Tensor) -> None:
    """Compare where embeddings differ from the table with where they are expected to.

    `embedded` (n, d) are the rows that enter the decoder, `table` (n, d) the embedding table's rows of their ids,
    `replaced` (n,) what the token ids say. Raises `MicroscopeError` when the two disagree anywhere: then pictures
    enter in another way than as tokens, or at other positions; and when the table is not finite, which is not equal to
    itself.
    """
    differs = (embedded != table).any(-1)
    wrong = int((differs != replaced).sum())
    if wrong:
        if broken := int((~torch.isfinite(table)).any(-1).sum()):
            raise MicroscopeError(
                f"The embedding table has numbers that are not finite in the rows of {broken} of {len(table)} "
                "positions: download the checkpoint again, or open it in float32."
            )
        raise MicroscopeError(
            f"By its token ids {int(replaced.sum())} of {len(replaced)} positions hold a picture, video or sound, by "
            f"its embeddings {int(differs.sum())} do ({wrong} disagree): this model does not take them in as tokens "
            "in the places its configuration names."
        )


def _get(config: Any, name: str) -> Any:
    """An attribute of a configuration, which may raise anything when it is read."""
    try:
        return getattr(config, name, None)
    except Exception:  # configurations of some families raise from __getattribute__
        return None
