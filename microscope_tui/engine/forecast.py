"""What a measurement will need, told before a weight is loaded: memory by part, and where it fits.

Shapes come from a skeleton, positions from the model's own processor on some examples of the slice. What a pass takes
beyond the captured rows is estimated; everything else is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from statistics import mode
from typing import Any

import torch

from microscope_tui.engine.plan import Plan, free_memory, plan
from microscope_tui.engine.rows import PART
from microscope_tui.errors import BadExample, MicroscopeError
from microscope_tui.models.base import OpenModel
from microscope_tui.models.before import CONNECTOR, TOWER
from microscope_tui.models.loading import BALANCED, Place
from microscope_tui.models.skeleton import Skeleton, skeleton
from microscope_tui.models.sketch import sketch
from microscope_tui.slices import Slice, open_slice
from microscope_tui.tables import size_text
from microscope_tui.terms import Modality, Request, captured_streams

LOOKED_AT = 16
"""Examples, evenly spaced over the slice, whose positions are counted."""

HALF = ("bfloat16", "float16")

ANYWAY = "memory_check = false in the settings tries it all the same"

WEIGHTS, ACTIVATIONS, MOMENTS, SAMPLE = "weights", "a batch", "moments", "sample"
"""What takes memory."""


@dataclass(frozen=True)
class Length:
    """Positions of an example, their mean and maximum over those that were `looked_at` of all `examples`."""

    examples: int
    looked_at: int
    mean: float
    most: int


@dataclass(frozen=True)
class DeviceForecast:
    """How a measurement would go on one device, of whose memory `free` bytes are free.

    `needs` are bytes by what takes them; moments are on `moments_on`, the sample on the host, all else on the device.
    `batch` examples go through at once, in `folds` folds. `reason` says why it does not fit, empty if it does.
    """

    device: str
    dtype: str
    free: int
    needs: Mapping[str, int]
    moments_on: str = ""
    batch: int = 0
    folds: int = 0
    notes: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Forecast:
    """What a request will need: the shape of its model, the length of its examples, and each device here."""

    request: Request
    skeleton: Skeleton
    length: Length
    fits: tuple[DeviceForecast, ...]

    def to_json(self) -> dict[str, Any]:
        shape = self.skeleton
        return {
            "model": self.request.model,
            "slice": str(self.request.slice),
            "architecture": shape.architecture,
            "layers": shape.layers,
            "d": shape.width,
            "context": shape.context,
            "dtype": shape.dtype,
            "parameters": {**shape.parts, "total": shape.parameters},
            "bytes": {dtype: sum(shape.bytes(dtype).values()) for dtype in ("float32", "bfloat16")},
            "missing": list(shape.weights.missing) if shape.weights else [],
            "length": asdict(self.length),
            "devices": [asdict(each) | {"fits": not each.reason} for each in self.fits],
        }


def forecast(request: Request) -> Forecast:
    """The forecast of a request. Nothing of the model is downloaded, and no weight is read.

    Raises `MicroscopeError` for a model that is not here or cannot be opened, and for a slice that cannot.
    """
    shape = skeleton(request.model)
    model = sketch(request.model, one_tile=request.one_tile)
    length = length_of(model, open_slice(request.slice))
    shapes = shapes_before(request, model)
    devices = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    return Forecast(request, shape, length, tuple(fit(request, shape, length, shapes, each) for each in devices))


def length_of(model: OpenModel, slice_: Slice) -> Length:
    """The positions of some examples of a slice; those that cannot be used are left out."""
    total = len(slice_)
    counts = []
    for i in range(min(LOOKED_AT, total)):
        try:
            counts.append(model.prepare([slice_.example(i * total // min(LOOKED_AT, total))]).tokens)
        except BadExample:
            continue
    if not counts:
        raise MicroscopeError(f"None of the {min(LOOKED_AT, total)} examples that were looked at can be used.")
    return Length(total, len(counts), sum(counts) / len(counts), max(counts))


def shapes_before(request: Request, model: OpenModel) -> Mapping[str, tuple[int, int]]:
    """About the stages before the decoder, of a model that has not been looked at."""
    if not request.before or model.tower is None or Modality.IMAGE not in request.modalities:
        return {}
    width = mode(len(parameter) for parameter in model.tower.layers[0].parameters() if parameter.ndim == 1)
    return {TOWER: (model.tower.used, width), CONNECTOR: (1, model.width)}


def fit(
    request: Request, shape: Skeleton, length: Length, shapes: Mapping[str, tuple[int, int]], device: str
) -> DeviceForecast:
    """Whether and how a request would go on one device."""
    where, dtype = torch.device(device), dtype_on(request, shape, device)
    weights, free = sum(shape.bytes(dtype).values()), free_memory(where)[where]
    needs = {WEIGHTS: weights, ACTIVATIONS: batch_bytes(request, shape, request.max_batch * length.most, dtype)}
    found = DeviceForecast(device, dtype, free, needs)
    if weights > free:
        return replace(found, reason=f"its weights take {size_text(weights)}, and {size_text(free)} are free")
    try:
        planned = plan_for(request, shape, shapes, where, weights)
    except MicroscopeError as error:
        return replace(found, reason=str(error))
    left = free - weights - (planned.moments if planned.device == where else 0)
    batch = request.max_batch
    while batch and batch_bytes(request, shape, batch * length.most, dtype) > left:
        batch //= 2
    needs = {
        WEIGHTS: weights,
        ACTIVATIONS: batch_bytes(request, shape, max(batch, 1) * length.most, dtype),
        MOMENTS: planned.moments,
        SAMPLE: planned.sample,
    }
    notes = list(planned.notes)
    if 0 < batch < request.max_batch:
        notes.append(f"batches of {batch} instead of {request.max_batch} examples")
    reason = "" if batch else f"one example of {length.most:,} positions takes {size_text(needs[ACTIVATIONS])} more"
    return DeviceForecast(device, dtype, free, needs, str(planned.device), batch, planned.folds, tuple(notes), reason)


def check_room(request: Request) -> None:
    """Raise `MicroscopeError` for a model that is here and whose weights or moments cannot fit where it shall go."""
    try:
        shape = skeleton(request.model)
    except MicroscopeError:
        return  # opening it says what is wrong
    place = Place.of(dtype=request.dtype, device=request.device, attention=request.attention)
    dtype = dtype_on(request, shape, str(place.device))
    weights, free = sum(shape.bytes(dtype).values()), free_memory(place.device)
    if place.device_map is not None:  # over all GPUs, then to memory, then to disk
        return
    if weights > free[place.device]:
        half = "" if dtype in HALF else "--dtype bfloat16, "
        raise MicroscopeError(
            f"{request.model} does not fit: its weights take {size_text(weights)} in {dtype} and {place.device} has "
            f"{size_text(free[place.device])} free: use {half}a smaller model or another device (--device {BALANCED} "
            f"for all GPUs); {ANYWAY}."
        )
    try:
        plan_for(request, shape, {}, place.device, weights)
    except MicroscopeError as error:
        raise MicroscopeError(f"{str(error).rstrip('.')}; {ANYWAY}.") from error


def plan_for(
    request: Request, shape: Skeleton, shapes: Mapping[str, tuple[int, int]], device: torch.device, taken: int
) -> Plan:
    """The plan of a request for a model that is not loaded, all of whose streams are thought to be trusted."""
    return plan(
        layers=shape.layers,
        width=shape.width,
        kinds=len(request.modalities) * len(captured_streams(request.streams)),
        folds=request.folds,
        sample=request.sample_tokens,
        device=device,
        shapes=shapes,
        taken=taken,
    )


def batch_bytes(request: Request, shape: Skeleton, tokens: int, dtype: str) -> int:
    """Memory of a batch of so many positions: a pass, the rows that are captured, and their copies on the way."""
    streams = len(captured_streams(request.streams))
    rows = shape.state_bytes(tokens, streams=streams, dtype=dtype) + shape.state_bytes(min(tokens, PART), dtype=dtype)
    return rows + shape.pass_bytes(tokens, dtype=dtype)


def dtype_on(request: Request, shape: Skeleton, device: str) -> str:
    """The precision that a request means on a device."""
    chosen = Place.of(dtype=request.dtype, device=device, attention=request.attention).dtype
    return shape.dtype if chosen is None else str(chosen).removeprefix("torch.")


def forecast_lines(expected: Forecast) -> list[str]:
    """A forecast for people."""
    shape, length, request = expected.skeleton, expected.length, expected.request
    context = "" if shape.context is None else f", context {shape.context:,}"
    lines = [
        f"{request.model}: {shape.architecture}, {shape.layers} layers of width {shape.width:,}{context}, saved in "
        f"{shape.dtype}",
    ]
    if shape.weights and shape.weights.missing:
        lines.append(f"! {len(shape.weights.missing)} weight files are missing: {', '.join(shape.weights.missing)}")
    lines += ["", f"{'part':<14} {'parameters':>14} {'bfloat16':>10} {'float32':>10}"]
    half, full = shape.bytes("bfloat16"), shape.bytes("float32")
    for part, count in (*shape.parts.items(), ("total", shape.parameters)):
        of = (half[part], full[part]) if part in half else (sum(half.values()), sum(full.values()))
        lines.append(f"{part:<14} {count:>14,} {size_text(of[0]):>10} {size_text(of[1]):>10}")
    lines += [
        "",
        f"{request.slice}: {length.examples:,} examples, {length.mean:,.0f} positions each, {length.most:,} at most "
        f"(of {length.looked_at} that were looked at)",
    ]
    for each in expected.fits:
        fits = f"fits, with batches of {each.batch} and {each.folds} folds" if not each.reason else "does not fit"
        lines += ["", f"{each.device} in {each.dtype}: {fits}; {size_text(each.free)} free"]
        where = {MOMENTS: each.moments_on, SAMPLE: "cpu"}
        for need, size in each.needs.items():
            lines.append(f"  {need:<12} {size_text(size):>10}  on {where.get(need) or each.device}")
        lines += [f"  ! {said}" for said in (*((each.reason,) if each.reason else ()), *each.notes)]
    return lines
