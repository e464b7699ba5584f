"""One walk over the examples of a slice: capture, count, report, and go on after what goes wrong with one of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from microscope_tui.engine.accumulate import Accumulator, example_hash
from microscope_tui.engine.answers import Answers
from microscope_tui.engine.left_out import LeftOut, Prefixes
from microscope_tui.engine.plan import Plan
from microscope_tui.engine.profiles import Making, profiles
from microscope_tui.engine.stages import Shapes
from microscope_tui.engine.state import Keeper
from microscope_tui.engine.tally import Tally
from microscope_tui.errors import BadExample, Cancelled, Fault, MicroscopeError, OutOfMemory, is_out_of_memory, one_line
from microscope_tui.models.base import Captured, OpenModel
from microscope_tui.models.capture import capture
from microscope_tui.results import Measurement, Profile, Skipped, not_measured
from microscope_tui.slices import Example, Slice
from microscope_tui.terms import PARTIAL_SECONDS, Modality, Progress, Request, Stream, captured_streams

log = logging.getLogger(__name__)

PARTIAL_POINTS = 1024
"""Rows that dimension looks at while a job runs: enough to see the shape, cheap enough to repeat."""

FULL_AGAIN = 32
"""Where memory runs out batches are halved; each time so many are over, the full size is tried again. At fixed places,
so that a walk in two parts goes through what an undisturbed one does."""

PARTIAL_SHARE = 1 / 3
"""At most this share of a job's time goes into partial profiles."""


@dataclass(frozen=True)
class Listeners:
    """Who hears of the walk. `partial` is None when nobody looks; `should_stop` is asked between batches and layers."""

    progress: Callable[[Progress], None]
    partial: Callable[[Measurement], None] | None = None
    should_stop: Callable[[], bool] = lambda: False


class Walk:
    """Measures `model` on `slice_` for a request. Call `measure` once."""

    def __init__(
        self,
        request: Request,
        model: OpenModel,
        slice_: Slice,
        plan: Plan,
        provenance: Mapping[str, Any],
        keeper: Keeper | None,
        listeners: Listeners,
    ) -> None:
        self.request, self.model, self.slice, self.plan = request, model, slice_, plan
        self.provenance, self.keeper, self.tell = provenance, keeper, listeners
        self.streams = trusted_streams(request, model)
        left_out = LeftOut.of(model, request.without)
        self.shapes = stages_before(request, model)
        self.accumulator = Accumulator(
            model.layers,
            model.width,
            modalities=request.modalities,
            streams=self.streams,
            plan=plan,
            budget=request.sample_tokens,
            groups=model.groups,
            left_out=left_out,
            prefixes=Prefixes.of(model) if left_out.duplicates else None,
            shapes=self.shapes,
        )
        self.places = {example_hash(key): place for place, key in enumerate(slice_.keys)}
        self.answers = Answers(model.token_ids, model.tokenizer.unk_token_id)
        self.skipped: list[Skipped] = []
        self.optional: tuple[str, ...] = tuple(provenance["optional"])  # those that were there at all in `skipped`
        self.consumed = 0  # examples that were counted or skipped
        self.before = 0  # those of them that an earlier walk has dealt with
        self.batch_size = request.max_batch
        self.started = time.monotonic()
        self.next_partial = self.started + PARTIAL_SECONDS / 2
        self.partial_cost = PARTIAL_SECONDS  # until one was timed: the first comes without intervals

    def measure(self) -> Measurement:
        """Walk over all examples. Raises `Cancelled`, which says what is kept, when told to stop; `MicroscopeError`."""
        total = len(self.slice)
        try:
            if self.keeper and (committed := self.keeper.begin(self.accumulator)):
                self._take(committed)
            self.before, self.started = self.consumed, time.monotonic()
            while self.consumed < total:
                self._heed()
                self._step()
        except Cancelled as stop:  # never in the middle of a batch: what was counted are the first `consumed` examples
            raise self._ending(stop) from None
        if not self.done:
            first = self.skipped[0]
            raise MicroscopeError(
                f"None of the {total} examples of {self.request.slice} can be used; the first: {first.example}: "
                f"{first.reason}.",
                fault=Fault.SLICE,
            )
        try:
            made = self._profiles("computing profiles", reference=self.request.reference, matched=self.request.matched)
        except Cancelled as stop:
            raise self._ending(stop) from None
        return self._measurement(made, complete=True)

    def _step(self) -> None:
        """Go on by one batch."""
        # Batches end at fixed places, so that a walk in two parts has the batches of an undisturbed one.
        begin, size = self.consumed, self.request.max_batch
        end = min(begin - begin % size + size, len(self.slice))
        if not begin % (FULL_AGAIN * size):
            self.batch_size = size
        now = time.monotonic()
        if self.keeper and self._replayed(self.keeper):
            self.before += end - begin
            self.started += time.monotonic() - now
            self.tell.progress(self._progress("resuming"))
            return
        self._add(range(begin, end))
        self.consumed = end
        if self.keeper:  # first: what was told to be done is not lost
            self.keeper.commit(self.accumulator, self.tally)
        self._report()

    def _replayed(self, keeper: Keeper) -> bool:
        """Count what an earlier walk has captured of the next batch; False when that has to be done again."""
        block = keeper.block(self.model.input_device)
        if block is None:
            return False
        try:
            batches = [[(place, self._known(place)) for place in piece.places] for piece in block.pieces]
        except BadExample:
            return False  # it could be used then: perhaps a library is gone
        for number, (piece, examples) in enumerate(zip(block.pieces, batches, strict=True)):
            try:
                captured = piece.captured()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if number:
                    raise self._too_large() from error
                return False
            self._sum_up(captured, examples)
            del captured  # before the next one takes its room
        self._take(self.tally + block.tally)
        keeper.replayed(block, self.accumulator, self.tally)
        return True

    def _known(self, place: int) -> Example:
        """An example whose rows are there: its key is enough, but where the sums compare what examples show."""
        if self.accumulator.prefixes is None:
            return Example(self.slice.keys[place], (), "")
        return self.slice.example(place)

    @property
    def done(self) -> int:
        """The examples that were counted."""
        return self.consumed - len(self.skipped)

    @property
    def tally(self) -> Tally:
        """All that is known besides the sums."""
        given, asked = tuple(self.answers.given), self.answers.asked
        return Tally(self.consumed, asked, tuple(self.skipped), given, self.optional, self.batch_size)

    def _take(self, tally: Tally) -> None:
        self.consumed, self.skipped = tally.consumed, list(tally.skipped)
        self.answers.given, self.answers.asked = list(tally.answers), tally.asked
        self.optional = tally.optional if tally.skipped else self.optional
        self.batch_size = tally.batch_size
        if self.batch_size < self.request.max_batch:
            self._spare_memory()

    def _skip(self, error: BadExample) -> None:
        # No more than when earlier walks skipped: what was done with less is not gone on with (see `Keeper.begin`).
        self.optional = tuple(self.provenance["optional"])
        self.skipped.append(Skipped(error.example, error.reason))

    def _spare_memory(self) -> None:
        """Where memory ran out in the host, which holds rows until they are written."""
        if self.keeper and self.model.input_device.type == "cpu":
            self.keeper.spare_memory()

    def _ending(self, stop: Cancelled) -> Cancelled:
        """Keep what was measured up to a stop, which stays one whatever becomes of that (a full disk, a lost GPU), and
        add to it what a repeated request begins with."""
        if self.keeper is None:
            return Cancelled(f"{stop} Nothing is kept.")
        try:
            self.keeper.stop(self.accumulator)
        except (MicroscopeError, RuntimeError, MemoryError) as error:
            log.warning("what was measured since the last commit is measured again: %s", error)
            return Cancelled(f"{stop} What was measured since the last commit is not kept: {one_line(error, 400)}.")
        if self.keeper.notes:
            return Cancelled(f"{stop} It {'; it '.join(self.keeper.notes).rstrip('.')}.")
        return Cancelled(f"{stop} The same command goes on from there.")

    def _add(self, indices: Sequence[int]) -> None:
        """Capture and count the examples at these indices; one that cannot be used is skipped and named."""
        examples: list[tuple[int, Example]] = []
        for i in indices:
            try:
                examples.append((i, self.slice.example(i)))
            except BadExample as error:
                self._skip(error)
        while examples:
            size = min(self.batch_size, len(examples))
            self._capture(examples[:size])
            examples = examples[size:]

    def _capture(self, examples: Sequence[tuple[int, Example]]) -> None:
        captured = self._try(examples)
        if isinstance(captured, Captured):
            self._count(captured, examples)
        elif len(examples) > 1:
            # Out of memory: halves. One that cannot be used: each by itself, to find out which.
            size = len(examples) // 2 if isinstance(captured, OutOfMemory) else 1
            if isinstance(captured, OutOfMemory):
                self.batch_size = size
                self._spare_memory()
            for i in range(0, len(examples), size):
                self._capture(examples[i : i + size])
        elif isinstance(captured, BadExample):
            self._skip(captured)
        else:
            raise MicroscopeError(
                f"{examples[0][1].key} alone does not fit into memory: choose a smaller model, dtype bfloat16, "
                "fewer streams, or a device with more memory."
            )

    def _try(self, examples: Sequence[tuple[int, Example]]) -> Captured | OutOfMemory | BadExample:
        """One captured batch, or why there is none. The error comes back without its traceback, whose frames hold
        every tensor of the failed pass: a smaller batch needs their memory."""
        try:
            batch = self.model.prepare([example for _, example in examples])
            return capture(self.model, batch, captured_streams(self.streams), before=bool(self.shapes))
        except (OutOfMemory, BadExample) as error:
            failed: OutOfMemory | BadExample = error.with_traceback(None)
            failed.__context__ = failed.__cause__ = None
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failed = OutOfMemory(str(error))
        if isinstance(failed, OutOfMemory) and torch.cuda.is_available():
            torch.cuda.empty_cache()
        return failed

    def _count(self, captured: Captured, examples: Sequence[tuple[int, Example]]) -> None:
        self._sum_up(captured, examples)
        self.answers.add([example for _, example in examples], captured.last_logits)
        if self.keeper:
            self.keeper.note(captured, [place for place, _ in examples])

    def _sum_up(self, captured: Captured, examples: Sequence[tuple[int, Example]]) -> None:
        try:
            self.accumulator.add(captured, [example for _, example in examples], [i for i, _ in examples])
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            # Some of the rows may be counted already: the walk cannot go on from here.
            raise self._too_large() from error

    def _too_large(self) -> MicroscopeError:
        return MicroscopeError(
            f"Memory ran out while rows were counted on {self.plan.device}: measure fewer --stream or --modality at a "
            "time, or lower --folds."
        )

    def _report(self) -> None:
        self.tell.progress(self._progress("measuring"))
        now = time.monotonic()
        if self.tell.partial is None or now < self.next_partial or not self.done:
            return
        # Intervals solve every moment once more for each fold: they are drawn live where that is quick.
        intervals = self.partial_cost * self.plan.folds < PARTIAL_SECONDS
        profiles = self._profiles(points=PARTIAL_POINTS, intervals=intervals)
        self.tell.partial(self._measurement(profiles, complete=False))
        cost = time.monotonic() - now
        self.partial_cost = cost / self.plan.folds if intervals else cost
        self.next_partial = now + max(PARTIAL_SECONDS, cost / PARTIAL_SHARE)

    def _profiles(self, phase: str | None = None, **options: Any) -> tuple[Profile, ...]:
        """The profiles so far; a stop is heard before each layer is taken, and with a `phase` progress is told."""
        making = Making(self.request.metrics, self.places, heed=self._heed, **options)
        made: list[Profile] = []
        parts = len(self.request.metrics) * len(self.accumulator.modalities) * len(self.accumulator.streams)
        for profile in profiles(self.accumulator, making):
            made.append(profile)
            if phase:
                done = len({(p.metric, p.modality, p.stream) for p in made})
                self.tell.progress(replace(self._progress(phase), percent=100 * done // parts))
        return tuple(made)

    def _heed(self) -> None:
        if self.tell.should_stop():
            raise Cancelled(f"Stopped after {self.done} of {len(self.slice)} examples.")

    def _progress(self, phase: str) -> Progress:
        seen, total = self.done + len(self.skipped), len(self.slice)
        rate = (seen - self.before) / max(time.monotonic() - self.started, 1e-9)
        tokens = sum(self.accumulator.tokens.values())
        eta = (total - seen) / rate if rate else None
        device = self.model.input_device
        held = torch.cuda.memory_reserved(device) if device.type == "cuda" else None
        return Progress(phase, seen, total, tokens, rate, eta, len(self.skipped), held)

    def _measurement(self, profiles: tuple[Profile, ...], *, complete: bool) -> Measurement:
        wanted, counts = self.request.streams, self.accumulator
        notes = (*self.model.notes, *self._own_notes(), *self.plan.notes, *(self.keeper.notes if self.keeper else ()))
        return Measurement(
            model=self.request.model,
            slice=self.request.slice,
            profiles=profiles,
            accuracy=self.answers.accuracy,
            questions=self.answers.asked,
            examples=self.done,
            tokens={str(m): n for m, n in counts.tokens.items() if n or m in self.request.modalities},
            skipped=tuple(self.skipped),
            refused={str(s): reason for s, reason in self.model.refused.items() if s in wanted},
            notes=notes,
            provenance={**self.provenance, "optional": list(self.optional)},
            complete=complete,
            groups=dict(counts.groups),
            answers=tuple(self.answers.given),
            sinks={str(m): counts.sinks[m, captured_streams(self.streams)[0]] for m in self.request.modalities},
        )

    def _own_notes(self) -> Iterator[str]:
        """What to know about how this request was answered."""
        if self.request.before and not self.shapes:
            why = "its tower cannot be followed" if not self.model.shapes else "they need the residual image rows"
            yield f"the stages before the decoder are not measured: {why}"
        if self.accumulator.prefixes is not None and not self.accumulator.prefixes.causal:
            yield "in this model rows depend on what follows them: only whole repeated examples are duplicates"
        asked = self.request.modalities
        for modality in (m for m in asked if m not in self.model.modalities):
            yield f"this model takes no {modality}"
        yield from not_measured(self.accumulator.tokens, asked)


def stages_before(request: Request, model: OpenModel) -> Shapes:
    """The stages before the decoder that a request has: they come before the image rows of the residual stream."""
    wanted = request.before and Modality.IMAGE in request.modalities
    return model.shapes if wanted and Stream.RESIDUAL in trusted_streams(request, model) else {}


def check_modalities(request: Request, model: OpenModel) -> None:
    """Raise `MicroscopeError` unless the model takes some of what a request asks for."""
    if not set(request.modalities) & set(model.modalities):
        asked, taken = " or ".join(request.modalities), " and ".join(model.modalities)
        raise MicroscopeError(f"{request.model} takes no {asked}: it takes {taken}, so ask for one of those.")


def trusted_streams(request: Request, model: OpenModel) -> tuple[Stream, ...]:
    """The streams of a request that passed the model's self-check; `MicroscopeError` when none did."""
    streams = tuple(stream for stream in request.streams if stream in model.streams)
    if not streams:
        reasons = dict.fromkeys(model.refused[stream].rstrip(".") for stream in request.streams)
        raise MicroscopeError(f"No stream asked for of {request.model} can be measured: {'; '.join(reasons)}.")
    return streams
