"""`python -m microscope_tui.demo.train`: trains the demo's models from nothing, in stages that resume.

1. `vision`: the shared vision encoder. 2. `decoder`: the decoder's warm-up in words alone, one a seed.
3. `features`: the frozen encoder's patches of all pictures. 4. `arms`: decoder and fusion together, each arm and seed.
Stages 1 and 2 are independent, and so are the arms: several processes may share one work folder.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import platformdirs
import torch

from microscope_tui.demo import decoder, vision
from microscope_tui.demo.arms import Arm
from microscope_tui.demo.loop import Say, Schedule
from microscope_tui.demo.questions import Question, Split, balanced, questions
from microscope_tui.errors import MicroscopeError

STAGES = ("vision", "decoder", "features", "arms")


@dataclass(frozen=True)
class Recipe:
    """All that decides the weights, apart from the seed of an arm. Rates were tuned on the validation split."""

    rows: int = 48_000
    validation_rows: int = 700
    vision_rows: int = 24_000
    data_seed: int = 0
    vision: Schedule = field(default_factory=lambda: Schedule(3600, peak=2.5e-3))
    decoder: Schedule = field(default_factory=lambda: Schedule(2400))
    decoder_batch: int = 48
    arms: Schedule = field(default_factory=lambda: Schedule(4000))
    arm_batch: int = 32

    @classmethod
    def tiny(cls) -> Recipe:
        """A few steps of everything, to see that it runs."""
        short = Schedule(4, warmup=2, save_every=2)
        return cls(96, 28, 64, 0, short, short, 4, short, 4)


@dataclass(frozen=True)
class Workshop:
    """The work folder of a recipe: what is made in it, and how."""

    folder: Path
    recipe: Recipe
    device: torch.device

    @property
    def vision(self) -> Path:
        return self.folder / "vision.safetensors"

    @property
    def features(self) -> Path:
        return self.folder / "features.safetensors"

    def decoder(self, seed: int) -> Path:
        return self.folder / f"decoder-{seed}.safetensors"

    def arm(self, arm: Arm, seed: int) -> Path:
        return self.folder / f"{arm.value}-{seed}.safetensors"

    def training(self, count: int) -> list[Question]:
        return list(islice(questions(Split.TRAIN, self.recipe.data_seed), count))

    def validation(self) -> list[Question]:
        return balanced(Split.VALIDATION, self.recipe.validation_rows, self.recipe.data_seed)

    def make_vision(self) -> None:
        recipe = self.recipe
        rows = self.training(recipe.vision_rows)
        vision.train_vision(self.vision, rows, recipe.vision, recipe.data_seed, self.device, _teller("vision"))
        shares = vision.attribute_accuracy(self.vision, self.validation(), self.device)
        told = "  ".join(f"{name} {100 * share:.0f}" for name, share in shares.items())
        _teller("vision")(f"{told}  MEAN {100 * sum(shares.values()) / len(shares):.1f}")

    def make_decoder(self, seed: int) -> None:
        recipe = self.recipe
        path, say = self.decoder(seed), _teller(f"decoder {seed}")
        decoder.train_decoder(path, recipe.decoder, recipe.decoder_batch, seed, self.device, say)

    def make_features(self) -> None:
        if self.features.exists():
            return
        self._need(self.vision, "vision")
        rows = [*self.training(self.recipe.rows), *self.validation()]
        vision.write_features(self.features, self.vision, rows, self.device)
        _teller("features")(f"{len(rows)} rows written")

    def make_arm(self, arm: Arm, seed: int) -> None:
        recipe = self.recipe
        self._need(self.features, "features")
        self._need(self.decoder(seed), "decoder")
        say = _teller(f"{arm.value} {seed}")
        course = decoder.Course(self.training(recipe.rows), self.validation(), vision.read_features(self.features))
        model = decoder.new_joint(arm, self.decoder(seed), seed)
        path, schedule = self.arm(arm, seed), recipe.arms
        decoder.train_arm(path, model, course, schedule, recipe.arm_batch, seed, self.device, say)

    @staticmethod
    def _need(path: Path, stage: str) -> None:
        if not path.exists():
            raise MicroscopeError(f"{path} is missing: run the stage {stage} first.")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    torch.set_num_threads(arguments.threads)
    recipe = Recipe.tiny() if arguments.tiny else Recipe()
    workshop = Workshop(arguments.work, recipe, torch.device(arguments.device))
    try:
        for stage in arguments.stages:
            _run(workshop, stage, [Arm(name) for name in arguments.arms], arguments.seeds)
    except MicroscopeError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def default_work() -> Path:
    return Path(platformdirs.user_cache_dir("microscope-tui")) / "demo-train"


def _run(workshop: Workshop, stage: str, arms: Sequence[Arm], seeds: Sequence[int]) -> None:
    match stage:
        case "vision":
            workshop.make_vision()
        case "features":
            workshop.make_features()
        case "decoder":
            for seed in seeds:
                workshop.make_decoder(seed)
        case _:
            for seed in seeds:
                for arm in arms:
                    workshop.make_arm(arm, seed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m microscope_tui.demo.train", description=__doc__)
    names = [arm.value for arm in Arm]
    parser.add_argument(
        "--work", type=Path, default=default_work(), help="folder of the checkpoints (default: %(default)s)"
    )
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="what to do, in this order")
    parser.add_argument("--arms", nargs="+", choices=names, default=names, help="which arms (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1], help="one model of each arm for each seed")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="1 makes a CPU's results repeatable (default)")
    parser.add_argument("--tiny", action="store_true", help="a few steps of everything, to see that it runs")
    return parser


def _teller(stage: str) -> Say:
    def say(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')}  {stage}  {text}", file=sys.stderr, flush=True)

    return say


if __name__ == "__main__":
    sys.exit(main())
