"""The shared vision encoder: taught to say what a picture shows, then frozen for all arms.

A read-out, thrown away afterwards, answers every attribute of the questions' pictures from the patches of the
hidden state that the fusions will read, and paints the patches again at half size. The encoder's last layer, which
no fusion reads, learns the family of the picture from its class token, as CLIP's last layer serves CLIP's own task.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from microscope_tui.demo.arms import PATCHES, VISION_LAYER, VISION_WIDTH, Grid, new_vision, patches_of, rounded
from microscope_tui.demo.drawing import TILE, tiles_of
from microscope_tui.demo.families import ATTRIBUTES, PICTURE_FAMILIES
from microscope_tui.demo.loop import Loop, Say, Schedule, load_weights, mixed
from microscope_tui.demo.questions import Question

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PICTURES, TILES = 96, 48
"""Whole pictures and single tiles in a batch; the single tiles are only painted again."""
MOST_CLASSES = max(ATTRIBUTES.values())


class Tiles:
    """The tiles of many pictures: `pixels` (tiles, 48, 48, 3) bytes; picture i has `first[i]` … `first[i + 1]`."""

    def __init__(self, questions: Sequence[Question]) -> None:
        pictures = [q.picture() for q in questions]
        cut = [tiles_of(p) if p else [] for p in pictures]
        self.grids = [Grid(p.height // TILE, p.width // TILE) if p else None for p in pictures]
        self.first = np.cumsum([0, *map(len, cut)])
        self.pixels = np.stack([np.asarray(tile) for tiles in cut for tile in tiles])


def normalised(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], device: torch.device) -> Tensor:
    """(n, 3, 48, 48) as CLIP's processor makes them of (n, 48, 48, 3) bytes."""
    scaled = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v, device=device)[:, None, None] for v in (MEAN, STD))
    return (scaled - mean) / std


class Lesson(nn.Module):
    """The encoder with its read-out."""

    def __init__(self) -> None:
        super().__init__()
        width, attributes = VISION_WIDTH, len(ATTRIBUTES)
        self.vision = new_vision()
        self.norm = nn.LayerNorm(width)
        self.queries = nn.Parameter(0.1 * torch.randn(attributes, width))
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 128), nn.GELU(), nn.Linear(128, width))
        self.classes = nn.Parameter(0.05 * torch.randn(attributes, width, MOST_CLASSES))
        self.family = nn.Linear(width, len(PICTURE_FAMILIES))
        self.paint = nn.Linear(width, 6 * 6 * 3)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Attribute scores (n, attributes, classes), family scores (n, families), repainted patches (n, 16, 108)."""
        with mixed(pixels.device):
            out = self.vision(pixels, output_hidden_states=True)
        patches = self.norm(out.hidden_states[VISION_LAYER][:, 1:].float())
        queries = self.queries.expand(len(pixels), -1, -1)
        read = queries + self.attention(queries, patches, patches, need_weights=False)[0]
        read = read + self.mlp(read)
        scores = torch.einsum("bad,adc->bac", read, self.classes)
        return scores, self.family(out.pooler_output.float()), self.paint(patches)


def train_vision(
    path: Path, questions: Sequence[Question], schedule: Schedule, seed: int, device: torch.device, say: Say
) -> None:
    """Trains the encoder on the pictures among `questions` into the checkpoint `path`."""
    torch.manual_seed(seed)
    lesson = Lesson().to(device)
    loop = Loop(path, lesson, schedule, say, stage="vision", seed=seed, rows=len(questions))
    if loop.done:
        return
    pictured = [q for q in questions if q.has_picture]
    tiles, targets = Tiles(pictured), _targets(pictured).to(device)
    families = torch.tensor([PICTURE_FAMILIES.index(q.family) for q in pictured], device=device)

    def learn(step: int) -> dict[str, float]:
        rng = np.random.default_rng([seed, step])
        whole = rng.integers(0, len(pictured), PICTURES)
        single = rng.integers(0, len(tiles.pixels), TILES)
        pixels = normalised(tiles.pixels[np.concatenate([tiles.first[whole], single])], device)
        brightness = torch.from_numpy(rng.normal(0, 0.05, (len(pixels), 3, 1, 1))).float().to(device)
        scores, family, painted = lesson(pixels + brightness)
        asked = torch.from_numpy(whole).to(device)
        attributes = functional.cross_entropy(scores[:PICTURES].transpose(1, 2), targets[asked], ignore_index=-100)
        kind = functional.cross_entropy(family[:PICTURES], families[asked])
        paint = functional.mse_loss(painted, _small_patches(pixels + brightness))
        (attributes + 0.1 * kind + 0.3 * paint).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return {"attributes": attributes.item(), "family": kind.item(), "paint": paint.item()}

    loop.run(learn)


@torch.no_grad()
def attribute_accuracy(path: Path, questions: Sequence[Question], device: torch.device) -> dict[str, float]:
    """Share of right answers of the read-out, by attribute, on pictures it has not seen."""
    lesson = Lesson().to(device).eval()
    load_weights(path, lesson)
    pictured = [q for q in questions if q.has_picture]
    tiles, targets = Tiles(pictured), _targets(pictured)
    guesses = torch.cat(
        [
            lesson(normalised(tiles.pixels[tiles.first[start : start + 256][: len(pictured) - start]], device))[0]
            .argmax(-1)
            .cpu()
            for start in range(0, len(pictured), 256)
        ]
    )
    known = targets >= 0
    right = ((guesses == targets) & known).sum(0) / known.sum(0).clamp(min=1)
    return {name: float(share) for name, share in zip(ATTRIBUTES, right, strict=True)}


@torch.no_grad()
def write_features(path: Path, checkpoint: Path, questions: Sequence[Question], device: torch.device) -> None:
    """The patches of every tile of the questions' pictures, as bfloat16, computed once for all arms.

    The encoder is rounded to bfloat16 first, since that is how it is shipped.
    """
    lesson = Lesson()
    load_weights(checkpoint, lesson)
    vision = rounded(lesson.vision)
    nn.Module.to(vision, device)
    features, counts = [], []
    for start in range(0, len(questions), 512):
        pictured = [q for q in questions[start : start + 512] if q.has_picture]
        counts += [g.tiles if g else 0 for g in grids(questions[start : start + 512])]
        tiles = Tiles(pictured)
        for at in range(0, len(tiles.pixels), 512):
            with mixed(device):
                patches = patches_of(vision, normalised(tiles.pixels[at : at + 512], device))
            features.append(patches.to(torch.bfloat16).cpu())
    first = torch.tensor([0, *counts]).cumsum(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".part")
    save_file({"features": torch.cat(features), "first": first}, fresh)
    fresh.replace(path)


def read_features(path: Path) -> tuple[Tensor, Tensor]:
    """The features (tiles, 16, 64), and where each question's tiles begin, (questions + 1,)."""
    with safe_open(path, framework="pt") as file:
        return file.get_tensor("features"), file.get_tensor("first")


_SIZES = {
    "counting": Grid(2, 2), "bar charts": Grid(2, 2), "maps": Grid(2, 2), "matter": Grid(2, 2),
    "thermometers": Grid(2, 1),
}  # fmt: skip


def grids(questions: Sequence[Question]) -> list[Grid | None]:
    """The tiles of each question's picture, without drawing it."""
    return [_SIZES.get(q.family, Grid(1, 2)) if q.has_picture else None for q in questions]


def _targets(questions: Sequence[Question]) -> Tensor:
    """(n, attributes): the class of each attribute, −100 where the picture has no such thing."""
    rows = torch.full((len(questions), len(ATTRIBUTES)), -100)
    column = {name: i for i, name in enumerate(ATTRIBUTES)}
    for row, q in zip(rows, questions, strict=True):
        row[column["family"]] = PICTURE_FAMILIES.index(q.family)
        for name, value in q.attributes.items():
            row[column[name]] = value
    return rows


def _small_patches(pixels: Tensor) -> Tensor:
    """(n, 16, 108): each patch at half size, as the read-out is to paint it."""
    small = functional.avg_pool2d(pixels, 2)
    return small.reshape(-1, 3, 4, 6, 4, 6).permute(0, 2, 4, 1, 3, 5).reshape(-1, PATCHES, 108)
