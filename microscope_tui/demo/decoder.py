"""What the decoder learns from: answers after prompts, with pictures as rows of features.

The answer is trained in two forms from one prompt, "red B because …" and "B red because …": the first position is
taught both the word and the letter, so that both can be scored, and the second position the other of the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import MistralForCausalLM

from microscope_tui.demo import words
from microscope_tui.demo.arms import (
    BOT,
    IMAGE,
    SOI,
    USER,
    VECTORS,
    Adapter,
    Arm,
    Grid,
    Projector,
    layout,
    new_decoder,
    new_fusion,
)  # fmt: skip
from microscope_tui.demo.families import FAMILIES, PICTURE_FAMILIES, TEXT_FAMILIES
from microscope_tui.demo.loop import Loop, Say, Schedule, load_weights, mixed
from microscope_tui.demo.questions import Question, Split, question
from microscope_tui.demo.vision import grids

FIRST, SECOND, REASON, DRILL = 6.0, 1.0, 1.0, 2.0
"""Weights of the answer's first token, its second, each token of the reason, and each letter of the drill."""
LETTER_FIRST = 1 / 2
"""Share of the answers that begin with the letter."""
USUAL_WEIGHT = 20.0
"""About the weight of one answer; a constant, so that a step's gradient does not depend on its lengths."""

Features = tuple[Tensor, Tensor]
"""The features of all tiles (tiles, 16, 64), and where each row's tiles begin (rows + 1,)."""


@dataclass(frozen=True)
class Item:
    """One question as tokens. `row` is its place among the features."""

    family: str
    row: int
    grid: Grid | None
    before: list[int]
    word: int
    letter: int
    reason: list[int]
    choices: list[int]
    answer: int


def item(q: Question, row: int, grid: Grid | None, arm: Arm, hint: str | None = None) -> Item:
    word, letter, reason = words.answer_ids(q)
    before = layout(arm, words.ids(q.prompt(hint)), grid)
    return Item(q.family, row, grid, before, word, letter, reason, words.choice_ids(q.choices), q.answer)


class Joint(nn.Module):
    """A decoder with a fusion, over features that are computed already."""

    def __init__(self, arm: Arm, decoder: MistralForCausalLM) -> None:
        super().__init__()
        self.arm = arm
        self.decoder = decoder
        self.fusion: Projector | Adapter = new_fusion(arm)
        if isinstance(self.fusion, Adapter):
            # The vectors begin as the words that the warm-up had in their place.
            for name, text in (("USER", "user"), ("BOT", "assistant")):
                self.fusion.vectors[name].data.copy_(self.embedding.detach()[words.ids(text)[0]])

    def states(self, sequences: Sequence[Sequence[int]], pictures: Mapping[Grid, tuple[list[int], Tensor]]) -> Tensor:
        """(n, longest, 96) last hidden states of the sequences of ids and codes, padded at the right.

        `pictures`: for each grid, which sequences have it, and their features (k, tiles, 16, 64).
        """
        table = self.embedding
        index = torch.full((len(sequences), max(map(len, sequences))), words.PAD)
        for at, sequence in enumerate(sequences):
            index[at, : len(sequence)] = torch.tensor(sequence)
        rows, size = [table], len(table)
        if isinstance(self.fusion, Adapter):
            index = torch.where(index <= SOI, size + SOI - index, index)  # SOI, EOI, USER, BOT count downwards
            rows.append(torch.stack([self.fusion.vectors[name] for name in VECTORS]))
            size += len(VECTORS)
        for grid, (members, features) in pictures.items():
            made = self.fusion(features, grid).flatten(0, 1)
            part = index[members]
            index[members] = part.masked_scatter(part == IMAGE, torch.arange(size, size + len(made)))
            rows.append(made)
            size += len(made)
        embedded = functional.embedding(index.to(table.device), torch.cat(rows))
        with mixed(table.device):
            # Padding comes last and attention is causal: nothing real sees it, so no mask is needed.
            states: Tensor = self.decoder.base_model(inputs_embeds=embedded, use_cache=False).last_hidden_state
        return states.float()

    def logits(self, states: Tensor) -> Tensor:
        return functional.linear(states, self.embedding)

    @property
    def embedding(self) -> Tensor:
        """(vocabulary, 96): the rows of the tokens, and the output layer."""
        return self.decoder.get_parameter("model.embed_tokens.weight")


def loss(
    model: Joint,
    items: Sequence[Item],
    pictures: Mapping[Grid, tuple[list[int], Tensor]],
    rng: Random,
    *,
    drill: bool = False,
) -> Tensor:
    """The summed, weighted cross-entropy of the answers, over `USUAL_WEIGHT` for each.

    With `drill` every choice follows the end of the answer in random order, and its letter is asked: which letter
    goes with which word is learned many times faster from all choices than from the right one alone.
    """
    letters = [words.ids(letter)[0] for letter in words.OPTIONS]
    sequences: list[list[int]] = []
    row: list[int] = []
    column: list[int] = []
    target: list[int] = []
    weight: list[float] = []
    for at, it in enumerate(items):
        first, second = (it.letter, it.word) if rng.random() < LETTER_FIRST else (it.word, it.letter)
        sequences.append([*it.before, first, second, *it.reason])
        start = len(it.before) - 1
        row += [at] * (3 + len(it.reason))
        column += [start, start, *range(start + 1, start + 2 + len(it.reason))]
        target += [it.word, it.letter, second, *it.reason]
        weight += [FIRST * (1 - LETTER_FIRST), FIRST * LETTER_FIRST, SECOND, *[REASON] * len(it.reason)]
        for choice in rng.sample(range(len(it.choices)), len(it.choices)) if drill else ():
            row.append(at)
            column.append(len(sequences[at]))
            target.append(letters[choice])
            weight.append(DRILL)
            sequences[at] += [it.choices[choice], letters[choice]]
    states = model.states(sequences, pictures)
    logits = model.logits(states[row, column])
    each = functional.cross_entropy(logits, torch.tensor(target, device=logits.device), reduction="none")
    return (each * torch.tensor(weight, device=logits.device)).sum() / USUAL_WEIGHT


@torch.no_grad()
def accuracy(model: Joint, items: Sequence[Item], features: Features | None) -> dict[str, tuple[float, float]]:
    """Share of right answers by word and by letter, of each family."""
    right: dict[str, list[tuple[bool, bool]]] = {}
    ordered = sorted(items, key=lambda it: len(it.before))
    letters = [words.ids(letter)[0] for letter in words.OPTIONS]
    for start in range(0, len(ordered), 64):
        batch = ordered[start : start + 64]
        states = model.states([it.before for it in batch], pictures_of(batch, features))
        last = model.logits(states[range(len(batch)), [len(it.before) - 1 for it in batch]])
        for it, scores in zip(batch, last, strict=True):
            by_word = int(scores[it.choices].argmax()) == it.answer
            by_letter = int(scores[letters[: len(it.choices)]].argmax()) == it.answer
            right.setdefault(it.family, []).append((by_word, by_letter))
    return {f: (_mean([w for w, _ in right[f]]), _mean([x for _, x in right[f]])) for f in FAMILIES if f in right}


def pictures_of(items: Sequence[Item], features: Features | None) -> dict[Grid, tuple[list[int], Tensor]]:
    """Which of the items have a picture of each grid, and the features of these."""
    members: dict[Grid, list[int]] = {}
    for at, it in enumerate(items):
        if it.grid and features:
            members.setdefault(it.grid, []).append(at)
    if not features:
        return {}
    tiles, first = features
    device = tiles.device
    return {
        grid: (
            which,
            torch.stack([tiles[first[items[k].row] : first[items[k].row + 1]] for k in which]).float().to(device),
        )
        for grid, which in members.items()
    }


def train_decoder(path: Path, schedule: Schedule, batch: int, seed: int, device: torch.device, say: Say) -> None:
    """The warm-up: questions in words alone, those of pictures with the picture's description as a hint."""
    torch.manual_seed(seed)
    model = WarmUp().to(device)
    loop = Loop(path, model, schedule, say, stage="decoder", seed=seed, batch=batch)
    weights = [family.weight * (1 if family.painter else 2.5) for family in FAMILIES.values()]

    def learn(step: int) -> dict[str, float]:
        rng = Random(f"warm-up {seed} {step}")
        items: list[Item] = []
        while len(items) < batch:
            q = question(rng.choices(list(FAMILIES), weights)[0], rng.getrandbits(48))
            if q.split is Split.TRAIN:
                items.append(described(q, rng))
        total = torch.zeros(())
        for part in halves(items):
            value = loss(model.joint, part, {}, rng, drill=True) / batch
            value.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            total += value.detach().cpu()
        return {"loss": total.item()}

    def review() -> str:
        rng = Random("warm-up review")
        drawn = [question(f, s) for f in FAMILIES for s in range(10**6, 10**6 + 150)]
        held = [q for q in drawn if q.split is Split.VALIDATION]
        return table(accuracy(model.joint, [described(q, rng) for q in held], None))

    loop.run(learn, review=review)


class WarmUp(nn.Module):
    """A decoder alone; the LLaVA layout without a picture and OmniFusion's are both read by it."""

    def __init__(self) -> None:
        super().__init__()
        self.joint = Joint(Arm.LLAVA_NEXT_BASE, new_decoder())
        self.joint.fusion.requires_grad_(False)


def described(q: Question, rng: Random) -> Item:
    """A question whose picture is described in its hint, in one of the arms' layouts."""
    hint = q.hint
    if q.has_picture:
        hint = f"{q.hint} {q.solution}" if q.hint and rng.random() < 0.5 else q.solution
    made = item(q, 0, None, rng.choice((Arm.LLAVA_NEXT, Arm.OMNIFUSION)), hint)
    spoken = {USER: words.ids("user")[0], BOT: words.ids("assistant")[0]}
    return replace(made, before=[spoken.get(code, code) for code in made.before])


@dataclass(frozen=True)
class Course:
    """The joint training's rows: the items of training and validation, and their features."""

    training: Sequence[Question]
    validation: Sequence[Question]
    features: Features

    def items(self, arm: Arm) -> tuple[list[Item], list[Item]]:
        """Rows count through the training and then the validation questions, as the features do."""
        both = [*self.training, *self.validation]
        made = [item(q, row, grid, arm) for row, (q, grid) in enumerate(zip(both, grids(both), strict=True))]
        return made[: len(self.training)], made[len(self.training) :]


def train_arm(
    path: Path, model: Joint, course: Course, schedule: Schedule, batch: int, seed: int, device: torch.device, say: Say
) -> None:
    """Trains a decoder and its fusion into the checkpoint `path`.

    Arms of one seed begin with the same decoder and see the same questions in the same order.
    """
    model.to(device)
    rows = len(course.training)
    loop = Loop(path, model, schedule, say, stage=model.arm.value, seed=seed, batch=batch, rows=rows)
    if loop.done:
        return
    training, validation = course.items(model.arm)
    features = (course.features[0].to(device), course.features[1])

    def learn(step: int) -> dict[str, float]:
        drawn = np.random.default_rng([seed, step]).integers(0, len(training), batch)
        rng = Random(f"{seed} {step}")
        total = torch.zeros(())
        for part in halves([training[i] for i in drawn]):
            value = loss(model, part, pictures_of(part, features), rng) / batch
            value.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            total += value.detach().cpu()
        return {"loss": total.item()}

    loop.run(learn, review=lambda: table(accuracy(model, validation, features)))


def new_joint(arm: Arm, start: Path, seed: int) -> Joint:
    """The decoder of the warm-up and a fresh fusion."""
    decoder = new_decoder()
    load_weights(start, decoder, "joint.decoder.")
    torch.manual_seed(seed)
    return Joint(arm, decoder)


def halves(items: list[Item]) -> list[list[Item]]:
    """The shorter and the longer half of a batch, so that little is padded."""
    ordered = sorted(items, key=lambda it: len(it.before))
    middle = len(ordered) // 2
    return [part for part in (ordered[:middle], ordered[middle:]) if part]


def table(shares: Mapping[str, tuple[float, float]]) -> str:
    """One line: per cent right by word/by letter of each family, then of the picture and the text families."""
    cells = [f"{family} {100 * word:.0f}/{100 * letter:.0f}" for family, (word, letter) in shares.items()]
    for name, families in (("PICTURE", PICTURE_FAMILIES), ("TEXT", TEXT_FAMILIES)):
        held = [shares[f] for f in families if f in shares]
        cells.append(f"{name} {100 * _mean([w for w, _ in held]):.1f}/{100 * _mean([x for _, x in held]):.1f}")
    return "  ".join(cells)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
