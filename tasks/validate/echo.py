"""Does the answer only say the question again? By containment of words, in whatever dress; never by single words.

The question and its first line (the title) are taken out of the answer wherever they stand. What is left is the
answer's own part. Nothing left, only a frame around it ("Question:", "Sure! Here is what you asked for"), or a piece of
the question again: an echo. Anything else, be it one number, is an answer that took the question up first. Who repeats
the whole prompt repeats its random key.
"""

from __future__ import annotations

import re
import unicodedata

from models.enums import ErrorType
from models.verdict import Failure
from tasks.foreign import excerpt, visible

ECHO_WORDS = 4
ECHO_SHARE = 0.8
"""A part of the question is an echo from so many words and this share of it on; less may be the answer itself."""

LONG_PART = 160
LONG_SHARE = 1 / 3
"""A part from the middle that has so many characters and this share of the question; from its beginning, letters
alone are enough: that is an echo which was cut off."""

LEAD_WORDS = 12
_LEAD_COLON = re.compile(r"(?P<lead>[^:：]{1,120})[:：](?P<rest>.+)", re.DOTALL)
_FENCE = re.compile(r"</?data [0-9a-f]{8,64}>")
# Scripts without spaces have no words to compare by: there each letter is one.
_WORD = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]|[^\\W\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]+")

_SENTENCE_END = re.compile(r"(?<=[.?!])\s|(?<=[。？！])")
_LABELS = """
question q task item prompt query request asked answer a response output
вопрос ответ задача задание запрос frage antwort aufgabe réponse tâche demande pregunta respuesta tarea pergunta
resposta tarefa domanda risposta compito pytanie odpowiedź zadanie vraag antwoord soru cevap
"""
_LEAD = """
user assistant title input content text data json markdown message role
sure certainly of course okay ok here is are s what you asked for the your my this below requested repeat repeated again
let me restate i was following was want to know would like
пользователь вот конечно хорошо ваш твой это вы спросили повторяю повтор
natürlich gerne hier ist ihre deine die sie haben gefragt voici votre bien sûr vous avez demandé
claro aquí está su tu la usted preguntó por supuesto
"""
_LETTERS = frozenset("问题回答案任务質問答え")
_TAIL_WORDS = frozenset(_WORD.findall(_LABELS)) | _LETTERS
"""What may stand after the question and still says nothing: a label that nothing follows. "Sure" may be the answer."""
_FRAME = _TAIL_WORDS | frozenset(_WORD.findall(_LEAD)) | frozenset("当然好的你您是这个以下请求")


def check_echo(text: str, question: str) -> Failure | None:
    """Does the answer only repeat the question (or its first line, the title)?"""
    said = _words(text)
    if not said:
        return None
    title = question.lstrip().partition("\n")[0]
    asked = dict.fromkeys((question, title, _SENTENCE_END.split(title)[0]))  # often one and the same
    wholes = [words for one in asked if (words := _words(one))]
    announced = _words(_announced(text))
    if not any(_is_echo(said, whole) or _is_part(announced, whole) for whole in wholes):
        return None
    return Failure(
        "transport",
        "no_echo",
        ErrorType.ECHO,
        f"The answer repeats the question and adds nothing: {excerpt(text)}.",
    )


def check_prompt_echo(text: str, fence: str) -> Failure | None:
    """Does the answer repeat its prompt? It has the prompt's random key then, which no answer can need.

    The lines with the key around foreign text (`<data KEY>`) may stand around an answer, too.
    """
    if not fence or fence not in text or fence not in _FENCE.sub(" ", text):
        return None
    return Failure(
        "transport", "no_echo", ErrorType.ECHO, f"The answer repeats what it was told: {excerpt(text)}."
    )


def _words(text: str) -> list[str]:
    """Small letters without accents: a question in capitals, in full width or typed without dots is the same one."""
    plain = visible(text)
    if not plain.isascii():
        apart = unicodedata.normalize("NFKD", plain)
        plain = "".join(letter for letter in apart if not unicodedata.combining(letter)).replace("ı", "i")
    folded = plain.casefold().replace("_", " ")
    return _WORD.findall(_FENCE.sub(" ", folded) if "<" in folded else folded)


def _announced(text: str) -> str:
    """What follows a short lead with a colon, in whatever language: "Here is your question: ..."; else nothing.

    A lead with a digit in it may be the answer.
    """
    if ":" not in text and "：" not in text:
        return ""
    found = _LEAD_COLON.match(visible(text))
    if found is None or len(found["lead"].split()) > LEAD_WORDS or any(map(str.isdigit, found["lead"])):
        return ""
    return found["rest"]


def _is_echo(said: list[str], asked: list[str]) -> bool:
    """`asked`: the question, its title, or the title's first sentence."""
    if _is_part(said, asked):
        return True
    pieces = _without(said, asked)
    if len(pieces) > 1:
        head, *rest = pieces
        return _adds_nothing(head, asked, _FRAME) and all(
            _adds_nothing(piece, asked, _TAIL_WORDS) for piece in rest
        )
    # A frame around a part: "Question: the first half of it".
    core = _unframed(said, _FRAME)
    return core != said and _is_part(core, asked)


def _adds_nothing(piece: list[str], asked: list[str], frame: frozenset[str]) -> bool:
    core = _unframed(piece, frame)
    again = len(core) >= ECHO_WORDS and " ".join(asked).startswith(" ".join(core))
    return not core or again or _is_part(core, asked)


def _unframed(words: list[str], frame: frozenset[str]) -> list[str]:
    """Without the words of a frame at both ends."""
    start, end = 0, len(words)
    while start < end and words[start] in frame:
        start += 1
    while end > start and words[end - 1] in frame:
        end -= 1
    return words[start:end]


def _is_part(said: list[str], asked: list[str]) -> bool:
    """Is it the whole, nearly the whole, or a long part of what was asked, word for word?"""
    if said == asked:
        return True
    if not said or len(said) >= len(asked) or len(said) < ECHO_WORDS:
        return False
    inner, whole = " ".join(said), " ".join(asked)
    # The last word of an echo that was cut off may be cut itself.
    if whole.startswith(inner) and len(inner) >= min(LONG_PART, ECHO_SHARE * len(whole)):
        return True
    if f" {inner} " not in f" {whole} ":
        return False
    return len(said) >= ECHO_SHARE * len(asked) or len(inner) >= max(LONG_PART, LONG_SHARE * len(whole))


def _without(said: list[str], whole: list[str]) -> list[list[str]]:
    """What is left before, between and after the places where the whole stands; one piece where it does not."""
    if len(said) < len(whole):
        return [said]
    spaced = "".join(f" {word} " for word in said)
    return [piece.split() for piece in spaced.split("".join(f" {word} " for word in whole))]
