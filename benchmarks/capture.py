"""What capturing costs: a captured forward against a plain one of the same batch, and peak memory by examples.

The model is a LLaVA with random weights, 8 blocks of width 512; the batch has 2 examples of about 300 tokens. Plain and
captured passes take turns in one thread; their times are CPU seconds, in which what else runs here counts little, and
the ratio is that of their medians.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WIDTH, BLOCKS, WORDS, BATCH, ROUNDS = 512, 8, 300, 2, 7

PAIR, ALLOWED = "residual + update", 1.10
"""The pass whose cost is promised, and the most it may cost as a share of a plain one."""

FEW, MANY = 32, 256
"""Examples: four times the largest batch, and eight times as many."""


def build(folder: Path) -> Path:
    """The checkpoint."""
    import torch
    from transformers import CLIPImageProcessorPil, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    from tests.models.builders import IMAGE, SPECIAL, TEMPLATE, text_config, tokenizer, vision_config

    torch.manual_seed(0)
    text = text_config(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=BLOCKS,
        num_attention_heads=8,
        num_key_value_heads=8,
        head_dim=WIDTH // 8,
        max_position_embeddings=2 * WORDS,
        vocabulary=32_000,
    )
    config = LlavaConfig(
        vision_config=vision_config(), text_config=text, image_token_index=SPECIAL.index(IMAGE), image_seq_length=16
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    edges = {"height": 24, "width": 24}
    make: Any = LlavaProcessor  # which is not typed
    make(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size=edges),
        tokenizer=tokenizer(),
        patch_size=6,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    return folder


def seconds(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def passes(folder: Path) -> None:
    import torch

    from microscope_tui.models.capture import capture, keep_last
    from microscope_tui.models.load import open_model
    from microscope_tui.terms import Stream
    from tests.models.builders import example

    torch.set_num_threads(1)  # the CPU seconds of threads that wait for each other would count twice
    model = open_model(str(folder))
    batch = model.prepare([example(f"row {i}", words=WORDS - 40 * i) for i in range(BATCH)])
    (part,) = batch.parts

    def plain() -> None:
        with torch.no_grad(), keep_last(model.head, part.last):
            model.forward(part)

    cases = {
        "plain": plain,
        PAIR: lambda: capture(model, batch, [Stream.RESIDUAL, Stream.UPDATE]),
        "with the stages before": lambda: capture(model, batch, [Stream.RESIDUAL], before=True),
        "with the main flow": lambda: capture(model, batch, [Stream.RESIDUAL, Stream.MAIN]),
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, case in cases.items():
            times[name].append(seconds(case))
    base = statistics.median(times["plain"])
    print(f"{batch.tokens:,} tokens, d = {WIDTH}, {BLOCKS} blocks, {torch.get_num_threads()} thread, {ROUNDS} rounds")
    print(f"{'pass':<24} {'median':>9} {'ratio':>7} {'at most':>8}")
    for name, taken in times.items():
        middle = statistics.median(taken)
        limit = f"{ALLOWED:>8.2f}" if name == PAIR else ""
        print(f"{name:<24} {middle:>7.3f} s {middle / base:>7.3f} {limit}".rstrip(), flush=True)


def peak(count: int) -> float:
    """Peak memory in MB of a process that measures so many examples of the demo."""
    command = [sys.executable, "-m", "benchmarks.capture", str(count)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure_alone(count: int) -> None:
    from microscope_tui import measure

    measure("demo:llava-next", f"demo:scienceqa?count={count}", metrics=["linearity", "anisotropy"])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        passes(build(Path(folder)))
    small, large = peak(FEW), peak(MANY)
    print(f"peak memory of {FEW} and of {MANY} examples: {small:.0f} and {large:.0f} MB, {large / small:.2f} times")


if __name__ == "__main__":
    if sys.argv[1:]:
        measure_alone(int(sys.argv[1]))
    else:
        main()
