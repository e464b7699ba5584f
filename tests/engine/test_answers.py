import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from microscope_tui.engine.answers import Answers
from microscope_tui.results import Answer
from microscope_tui.slices import Example

PIECES = ["<unk>", "▁", "▁A", "▁B", "A", "B", "▁red", "▁the", "▁fox", "▁dog", "red"]


def metaspace():
    """Ids as a SentencePiece tokenizer gives them: a text begins with ▁, and a space before it is a piece."""
    tokenizer = Tokenizer(models.WordPiece({p: i for i, p in enumerate(PIECES)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    return lambda text: (
        [PIECES.index("▁"), *tokenizer.encode(text[1:]).ids] if text.startswith(" ") else tokenizer.encode(text).ids
    )


def question(choices, answer=0):
    return Example("row 0", (), "which?", tuple(choices), answer, "", {})


def logits(**scores):
    row = torch.zeros(len(PIECES))
    for piece, score in scores.items():
        row[PIECES.index(piece.replace("_", "▁"))] = score
    return row[None]


def scored(choices, answer, **scores):
    answers = Answers(metaspace())
    answers.add([question(choices, answer)], logits(**scores))
    return answers


def test_a_lone_space_that_could_begin_every_answer_counts_for_none():
    answers = scored(["red", "the fox"], 1, _=9.0, _B=5.0, _A=1.0)
    assert answers.given == [Answer("row 0", 1, True, 4.0)]


def test_the_letter_or_the_first_word_decides_whichever_the_model_prefers():
    assert scored(["red", "the fox"], 0, _red=5.0, _B=3.0).accuracy == 1
    wrong = scored(["red", "the fox"], 0, _red=3.0, _B=5.0, _A=4.5)
    assert wrong.accuracy == 0
    assert wrong.given == [Answer("row 0", 1, False, 0.5)]


def test_a_word_that_begins_two_options_tells_them_not_apart():
    answers = scored(["the fox", "the dog"], 1, _the=9.0, _B=2.0, _A=1.0)
    assert answers.given == [Answer("row 0", 1, True, 1.0)]


def test_a_token_that_begins_a_letter_and_another_options_word_is_the_letter():
    """`Apple` as ▁A pple: without the letter's right neither option would have a token of its own."""
    answers = scored(["the fox", "A dog"], 0, _A=9.0, _B=5.0, _the=1.0)
    assert answers.given == [Answer("row 0", 0, True, 4.0)]


def test_what_the_tokenizer_does_not_know_is_nobodys_word_and_the_question_is_counted():
    answers = Answers(lambda text: [{"red": 1, "A": 2}.get(text.strip(), 0)], unknown=0)
    answers.add([question(["red", "bilberry"], 1)], torch.tensor([[9.0, 1.0, 2.0]]))
    assert (answers.given, answers.asked, answers.accuracy) == ([], 1, None)


def test_logits_that_are_not_finite_are_no_answer():
    answers = scored(["red", "the fox"], 0, _A=float("nan"))
    assert (answers.given, answers.asked, answers.accuracy) == ([], 1, None)


def test_questions_without_an_answer_or_a_choice_are_not_scored():
    answers = Answers(metaspace())
    answers.add([question(["red", "the fox"], None), question([], 0)], torch.zeros(2, len(PIECES)))
    answers.add([question(["red", "the fox"])], None)
    assert (answers.given, answers.asked) == ([], 0)
    assert answers.accuracy is None
