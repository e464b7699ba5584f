"""One training loop for all stages: AdamW, warm-up and cosine, a checkpoint that resumes bit for bit.

What a step learns from depends on the seed and the step's number alone, so a checkpoint needs no generator's state:
it is the weights, both Adam moments and the number of steps, in one safetensors file.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from microscope_tui.errors import MicroscopeError

Say = Callable[[str], None]


@dataclass(frozen=True)
class Schedule:
    """`steps` of AdamW at most `peak` fast: linear warm-up, then half a cosine down to 2 % of it."""

    steps: int
    peak: float = 2e-3
    warmup: int = 200
    save_every: int = 200

    def rate(self, step: int) -> float:
        rise = min(1.0, (step + 1) / self.warmup)
        return self.peak * rise * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / self.steps)))


class Loop:
    """Trains `module` and keeps `path` up to date; picks up where the file left off."""

    def __init__(self, path: Path, module: nn.Module, schedule: Schedule, say: Say, **identity: str | int) -> None:
        self.path, self.module, self.schedule, self.say = path, module, schedule, say
        self._identity = json.dumps({"schedule": asdict(schedule), **identity}, sort_keys=True)
        self._parameters = dict(module.named_parameters())
        # A vector or a norm is not a map to be kept small.
        decayed = [p for p in self._parameters.values() if p.dim() > 1]
        others = [p for p in self._parameters.values() if p.dim() <= 1]
        groups = [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
        self._adam = torch.optim.AdamW(groups, betas=(0.9, 0.98))
        self.step = 0
        if path.exists():
            self._load()

    @property
    def done(self) -> bool:
        return self.step >= self.schedule.steps

    def run(
        self,
        learn: Callable[[int], Mapping[str, float]],
        *,
        review: Callable[[], str] | None = None,
        until: int | None = None,
    ) -> None:
        """Calls `learn(step)`, which leaves gradients and returns what to report, for each step that is left.

        `review` is asked for a line at every checkpoint. `until` stops early, at that many steps.
        """
        end = min(self.schedule.steps, until or self.schedule.steps)
        started, first = time.monotonic(), self.step
        sums: dict[str, float] = {}
        self.module.train()
        while self.step < end:
            for group in self._adam.param_groups:
                group["lr"] = self.schedule.rate(self.step)
            for name, value in learn(self.step).items():
                sums[name] = sums.get(name, 0.0) + value
            nn.utils.clip_grad_norm_(self._parameters.values(), 1.0)
            self._adam.step()
            self._adam.zero_grad()
            self.step += 1
            if self.step % 100 == 0:
                pace = (time.monotonic() - started) / (self.step - first)
                told = "  ".join(f"{name} {value / min(100, self.step - first):.3f}" for name, value in sums.items())
                left = pace * (self.schedule.steps - self.step) / 60
                self.say(f"step {self.step}/{self.schedule.steps}  {told}  {pace:.2f} s/step  {left:.0f} min left")
                sums = {}
            if self.step % self.schedule.save_every == 0 or self.step == end:
                self.save()
                if review:
                    self.module.eval()
                    self.say(review())
                    self.module.train()
        self.module.eval()

    def save(self) -> None:
        tensors: dict[str, Tensor] = {}
        for name, parameter in self._parameters.items():
            tensors[f"weight.{name}"] = parameter.detach()
            state = self._adam.state.get(parameter, {})
            for moment in ("exp_avg", "exp_avg_sq"):
                if moment in state:
                    tensors[f"{moment}.{name}"] = state[moment]
        metadata = {"step": str(self.step), "identity": self._identity}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".part")
        save_file({name: t.contiguous().cpu() for name, t in tensors.items()}, fresh, metadata=metadata)
        os.replace(fresh, self.path)

    def _load(self) -> None:
        with safe_open(self.path, framework="pt") as file:
            metadata = file.metadata()
            if metadata.get("identity") != self._identity:
                raise MicroscopeError(
                    f"{self.path} was made by another recipe: give an empty --work folder, or the recipe it began with."
                )
            self.step = int(metadata["step"])
            for name, parameter in self._parameters.items():
                with torch.no_grad():
                    parameter.copy_(file.get_tensor(f"weight.{name}"))
                if f"exp_avg.{name}" in file.keys():  # noqa: SIM118  # a safetensors file is no mapping
                    self._adam.state[parameter] = {
                        "step": torch.tensor(float(self.step)),
                        "exp_avg": file.get_tensor(f"exp_avg.{name}").to(parameter.device),
                        "exp_avg_sq": file.get_tensor(f"exp_avg_sq.{name}").to(parameter.device),
                    }


def load_weights(path: Path, module: nn.Module, prefix: str = "") -> None:
    """Fills a module from the checkpoint of a stage; `prefix` names the part of it."""
    with safe_open(path, framework="pt") as file, torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(file.get_tensor(f"weight.{prefix}{name}"))


def mixed(device: torch.device) -> torch.autocast:
    """bfloat16 where it pays; the weights and sums stay float32."""
    return torch.autocast(device.type, torch.bfloat16)
