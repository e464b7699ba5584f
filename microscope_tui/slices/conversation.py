"""The first question of a conversation, in LLaVA's form or in that of chat APIs.

    [{"from": "human", "value": "<image>\\nWhat is this?"}, {"from": "gpt", "value": "A cat."}]
    [{"role": "user", "content": [{"type": "text", "text": "What is this?"},
                                  {"type": "image_url", "image_url": {"url": "cat.png"}}]}, …]

What comes after the first answer is left out, and so are instructions before the first question.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

PEOPLE, MODELS = ("human", "user"), ("gpt", "assistant", "model")

PLACEHOLDER = re.compile(r"[ \t]*<(?:image|video|audio)>(?=[ \t]|$)|<(?:image|video|audio)>\n?")
"""Where LLaVA's form puts a picture. Where it goes is the model's to say, so it is taken out."""

FORMS = ({"from", "value"}, {"role", "content"})


@dataclass(frozen=True)
class Conversation:
    """The first question, the answer to it (empty if there is none), and what stands in the question beside text.

    `media` are names of files, addresses or `data:` URIs, by `image`, `video` and `audio`. A list of names is one
    video by its frames.
    """

    question: str
    answer: str
    media: Mapping[str, tuple[str | list[str], ...]]


def is_conversation(kind: pa.DataType) -> bool:
    """Whether a column of this type holds lists of turns."""
    if not pa.types.is_list(kind) or not pa.types.is_struct(kind.value_type):
        return False
    names = {field.name for field in kind.value_type}
    return any(form <= names for form in FORMS)


def conversation_of(turns: object) -> Conversation:
    """The first question of some turns; what is no conversation has none."""
    found = [turn for turn in turns if isinstance(turn, Mapping)] if isinstance(turns, Sequence) else []
    first = next((i for i, turn in enumerate(found) if _speaker(turn) in PEOPLE), None)
    if first is None:
        return Conversation("", "", {})
    parts = list(_parts(found[first]))
    reply = found[first + 1] if first + 1 < len(found) and _speaker(found[first + 1]) in MODELS else {}
    media = {kind: places for kind in ("image", "video", "audio") if (places := tuple(_media(parts, kind)))}
    return Conversation(_text(parts), _text(_parts(reply)), media)


def _speaker(turn: Mapping[str, Any]) -> str:
    return str(turn.get("from") or turn.get("role") or "").lower()


def _parts(turn: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What a turn consists of; a text alone is one part."""
    content = turn.get("value") or turn.get("content")
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            yield {"type": "text", "text": part}
        elif isinstance(part, Mapping):
            yield part


def _text(parts: Iterable[Mapping[str, Any]]) -> str:
    texts = (part.get("text") for part in parts if part.get("type") in ("text", "input_text", "output_text"))
    return "\n".join(PLACEHOLDER.sub("", text).strip() for text in texts if isinstance(text, str)).strip()


def _media(parts: Sequence[Mapping[str, Any]], kind: str) -> Iterator[str | list[str]]:
    """Where the pictures, videos or sounds are. A part that only marks the place of one from a column names none."""
    for part in parts:
        if part.get("type") not in (kind, f"{kind}_url", f"input_{kind}"):
            continue
        names = (f"{kind}_url", f"input_{kind}", kind, "url", "path")
        place = next((value for name in names if (value := part.get(name))), None)
        if isinstance(place, Mapping):
            inner = place.get("url") or place.get("path")
            # As chat APIs take sound: its bytes, and beside them the format.
            place = f"data:;base64,{place['data']}" if not inner and place.get("data") else inner
        if isinstance(place, list) and kind == "video":
            yield [frame for frame in place if isinstance(frame, str)]
        elif isinstance(place, str):
            yield place
