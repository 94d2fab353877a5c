"""Is there an answer at all? Nothing, only thoughts, cut off, refused, no letter in it.

The question again is tasks/validate/echo.py, another language than the item's tasks/validate/language.py.
"""

from __future__ import annotations

import re

from models.calls import ModelAnswer
from models.enums import ErrorType
from models.verdict import Failure
from tasks.foreign import excerpt, is_storable, visible

LAYER = "transport"

CUT = frozenset(
    {"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded"}
)
"""Finish reasons (lower case) that say the answer was cut: OpenAI, Ollama, Anthropic, Gemini, Mistral."""

REFUSED = frozenset({"refusal", "content_filter", "content-filter", "safety", "blocklist", "prohibited_content", "spii",
                     "recitation", "image_safety", "guardrail_intervened", "content_filtered"})  # fmt: skip
"""Finish reasons that say the model or its guard would not answer: OpenAI, Anthropic, Gemini, Bedrock, Mistral."""

_STOCK = re.compile(
    r"(?:(?:i am|im|i m|we are) )?(?:(?:very |so |really )?sorry )?(?:but )?(?:as an ai(?: language)?(?: model)? )?"
    r"(?:i|we) (?:cannot|can not|cant|can t|am not able to|m not able to|am unable to|m unable to|wont|won t|will not)"
    r" (?:help|assist|comply|do|fulfill|fulfil|answer|discuss|provide|continue)(?: you)?(?: with)?"
    r"(?: (?:this|that|your|the|it))?(?: (?:request|question|topic))?"
    r"|(?:(?:мне (?:очень )?жаль|извините|простите) )?(?:но )?я не могу (?:помочь|ответить|выполнить|обсуждать)"
    r"(?: вам)?(?: с| на)?(?: (?:этим|это|этот|эту))?(?: (?:запросом|вопрос|просьбу|запрос|тему))?"
    r"|(?:es )?tut mir leid (?:aber )?(?:ich kann|dabei kann ich)(?: ihnen| dir)?(?: dabei| damit)?"
    r" nicht (?:helfen|weiterhelfen)"
    r"|(?:je suis )?désolée? (?:mais )?je ne peux pas (?:vous )?(?:aider|répondre)"
    r"(?: (?:avec|à) (?:cela|ça|cette demande))?"
    r"|lo siento (?:pero )?no puedo (?:ayudarte|ayudarle|ayudar|responder)(?: (?:con|a) (?:eso|esto|esa solicitud))?"
    r"|(?:mi dispiace )?(?:ma )?non posso (?:aiutarti|aiutarla|aiutare|rispondere)"
    r"(?: (?:con|a) (?:questo|questa richiesta))?"
    r"|(?:desculpe )?(?:mas )?não posso (?:ajudar|ajudá lo|responder)(?: (?:com|a) (?:isso|isto|esse pedido))?"
    r"|(?:sorry )?(?:maar )?(?:daar|hier) kan ik (?:u |je )?niet (?:bij |mee |op )?(?:helpen|antwoorden)"
    r"|(?:вибачте )?(?:але )?я не можу (?:допомогти|відповісти)(?: вам)?(?: (?:з|на) (?:цим|це|цей запит))?"
    r"|(?:przykro mi |przepraszam )?(?:ale )?nie mogę (?:ci |w tym )?(?:pomóc|odpowiedzieć)(?: (?:w tym|na to))?"
    r"|(?:üzgünüm )?(?:ama )?(?:bu konuda|buna) (?:yardımcı olamam|cevap veremem)"
    r"|(?:申し訳ありませんが)?(?:お手伝い|お答え|回答)(?:することは)?できません"
    r"|(?:很)?(?:抱歉|对不起)我(?:无法|不能)(?:帮助你|协助|回答)?(?:这个|该)?(?:请求|问题)?"
)
"""Whole answers that are a refusal and nothing else. It must match all of it: any word more, and it is content."""
_WORD = re.compile(r"\w+")
_LONGEST_STOCK = 160

_THINK = re.compile(r"\s*<(think|thinking|thought|reasoning)>", re.IGNORECASE)


def without_thoughts(text: str) -> str | None:
    """The text after a leading block of thoughts; None where the thoughts never end. Tags elsewhere are content."""
    while opening := _THINK.match(text):
        closing = re.compile(rf"</{opening[1]}\s*>", re.IGNORECASE).search(text, opening.end())
        if closing is None:
            return None
        text = text[closing.end() :]
    return text.strip()


def check_transport(answer: ModelAnswer) -> tuple[str, Failure | None]:
    """The text to go on with (without thoughts), and what is wrong with it."""
    text = without_thoughts(answer.text)
    if answer.finish_reason.lower() in CUT:
        return text or "", Failure(
            LAYER,
            "finish_reason",
            ErrorType.TRUNCATED,
            f"The answer was cut off: the server stopped with {excerpt(answer.finish_reason)} "
            f"after {len(answer.text)} characters.",
        )
    if answer.finish_reason.lower() in REFUSED:
        return text or "", refused(text or "", answer.finish_reason)
    if text is None:
        return "", Failure(
            LAYER, "not_empty", ErrorType.EMPTY, "There are only thoughts that never end, and no answer."
        )
    if not visible(text).strip():
        said = "nothing after its thoughts" if answer.text.strip() else "nothing"
        return "", Failure(LAYER, "not_empty", ErrorType.EMPTY, f"The model answered {said}.")
    if is_refusal(text):
        return text, refused(text)
    if not is_storable(text):
        return text, Failure(
            LAYER,
            "storable",
            ErrorType.MALFORMED,
            "The answer has NUL characters or broken Unicode, which can't be stored.",
        )
    return text, None


def check_words(text: str) -> Failure | None:
    """Has the answer a letter or a digit at all?"""
    if any(map(str.isalnum, text)):
        return None
    return Failure(
        LAYER, "has_words", ErrorType.EMPTY, f"The answer has no letter and no digit: {excerpt(text)}."
    )


def refused(text: str, reason: str = "") -> Failure:
    by = f" (the server stopped with {excerpt(reason)})" if reason else ""
    said = f": {excerpt(text)}" if text else ""
    return Failure(LAYER, "refused", ErrorType.REFUSED, f"The model would not answer{by}{said}.")


def is_refusal(text: str) -> bool:
    """Is the whole text a stock sentence of refusal? What only has such words in it is content."""
    if len(text) > _LONGEST_STOCK or text[:1] == "{":
        return False
    words = _WORD.findall(visible(text).casefold().replace("'", "").replace("’", ""))
    plain = " ".join(words)
    # What is written without spaces is none of ASCII.
    return _STOCK.fullmatch(plain) is not None or (
        not plain.isascii() and _STOCK.fullmatch("".join(words)) is not None
    )
