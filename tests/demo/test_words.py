"""The tokenizer lets any text through and keeps a choice's letter apart from the article."""

import re

from microscope_tui.demo import words
from microscope_tui.demo.questions import question


def test_a_letter_is_not_the_article():
    assert words.ids("A") != words.ids("a")
    assert words.ids("B") == words.ids(" B") == words.ids("\nB. ")
    assert [words.ids(letter) for letter in "ABCD"] == [[i] for i in range(words.ids("A")[0], words.ids("A")[0] + 4)]


def test_arbitrary_text_goes_through_as_unknown_words():
    text = "Context: Lichen — “Nunavut”, 12.5 °C\nWhich {organism} <b>eats</b> the bilberry’s root?\nA. yes\nB. no"
    found = words.ids(text)
    assert words.UNK in found
    assert words.IMAGE not in found
    assert words.ids("which")[0] in found


def test_every_word_and_sign_is_one_token():
    q = question("masses", 1)
    text = re.sub(r"\n[A-E]\. ", " A ", q.prompt())
    pieces = re.findall(r"\n|[\w']+|[^\w\s]", text)
    assert len(words.ids(q.prompt())) == len(pieces)


def test_the_hub_tokenizer_agrees_with_the_bare_one():
    prompt = question("food chains", 3).prompt()
    tokenizer = words.hub_tokenizer()
    assert tokenizer(prompt, add_special_tokens=False)["input_ids"] == words.ids(prompt)
    assert tokenizer.pad_token_id == words.PAD
    assert tokenizer.convert_tokens_to_ids("<image>") == words.IMAGE
