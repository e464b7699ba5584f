"""An example as a prompt: the chat template when there is a usable one, else a plain form.

What the user's text says can neither be taken for a picture nor break the prompt: every special token in it is broken
up by a space (`<image>` becomes `< image>`), and its ids are checked afterwards.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from microscope_tui.errors import BadExample
from microscope_tui.slices.examples import Example
from microscope_tui.slices.prompts import question_text
from microscope_tui.terms import Modality

PLAIN = "fallback-1"
"""Name of the plain form: the placeholders, then the question on a line of its own."""

BARE = "fallback-2"
"""Name of the plain form without placeholders: the processor puts pictures in front by itself."""

Shown = Mapping[Modality, int]
"""How many pictures, videos and sounds stand before a text."""

Render = Callable[[Shown, str], str]
"""A prompt from what is shown and a text."""


@dataclass(frozen=True)
class Form:
    """One way to write a prompt, and its name for the provenance."""

    name: str
    render: Render


class Text:
    """The user's text of an example, made safe for one tokenizer.

    `control` are the ids of special tokens, the unknown token excepted; `reserved`, which no user text may produce,
    are these and placeholders.
    """

    def __init__(self, tokenizer: Any, placeholders: Mapping[Modality, int], extra: Collection[str] = ()) -> None:
        self.tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder
        self.control = {i for i, token in added.items() if token.special} | set(tokenizer.all_special_ids)
        self.control -= {*placeholders.values(), tokenizer.unk_token_id}
        self.reserved = self.control | set(placeholders.values())
        tokens = {str(added[i]) for i in added if added[i].special} | set(tokenizer.all_special_tokens) | set(extra)
        tokens |= {str(tokenizer.convert_ids_to_tokens(i)) for i in placeholders.values()}
        longest_first = sorted((t for t in tokens if t and not t.isspace()), key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def __call__(self, example: Example) -> str:
        """The question of an example. Raises `BadExample` when a special token in it cannot be made harmless."""
        text = question_text(example)
        for _ in range(len(text)):
            if not self.pattern.search(text):
                break
            text = self.pattern.sub(lambda match: f"{match[0][0]} {match[0][1:]}" if match[0][1:] else " ", text)
        if self.reserved.intersection(self.tokenizer(text, add_special_tokens=False)["input_ids"]):
            raise BadExample(example.key, "its text holds a control token of the model that cannot be written as text")
        return text


def forms(processor: Any, tokenizer: Any, tokens: Mapping[Modality, str]) -> Sequence[Form]:
    """The ways to write a prompt for a processor, the best first; which one works is for the caller to try.

    `tokens` are what the processor looks for in a text to put a picture, video or sound in its place.
    """
    template = getattr(processor, "chat_template", None) or getattr(tokenizer, "chat_template", None)
    if isinstance(template, dict):
        template = template.get("default")
    found: list[Form] = []
    if isinstance(template, str):
        name = f"chat template blake2b:{hashlib.blake2b(template.encode(), digest_size=8).hexdigest()}"

        def rendered(content: Any) -> str:
            conversation = [{"role": "user", "content": content}]
            text = processor.apply_chat_template(
                conversation, chat_template=template, add_generation_prompt=True, tokenize=False
            )
            return str(text)

        def in_parts(shown: Shown, text: str) -> str:
            items = [{"type": str(modality)} for modality, count in shown.items() for _ in range(count)]
            return rendered([*items, {"type": "text", "text": text}])

        def in_line(shown: Shown, text: str) -> str:
            return rendered(plain(tokens, shown, text))

        found += [Form(name, in_parts), Form(f"{name}, placeholders in the text", in_line)]
    return [*found, Form(PLAIN, lambda shown, text: plain(tokens, shown, text))]


def bare(_shown: Shown, text: str) -> str:
    """The text alone."""
    return text


def plain(tokens: Mapping[Modality, str], shown: Shown, text: str) -> str:
    """The plain form: placeholders, then the text on a line of its own."""
    placeholders = "".join(tokens.get(modality, "") * count for modality, count in shown.items())
    return f"{placeholders}\n{text}" if placeholders else text
