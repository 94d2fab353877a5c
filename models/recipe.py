"""How a kind of item is done: a file that a person can read and edit (recipes/*.md), and what it becomes.

A recipe file is Markdown with YAML front matter; the front matter is `RecipeHeader`, the body has two sections,
`# System` and `# Prompt`, which are Jinja2 templates (sandboxed, autoescape off, undefined names are errors).
Its `hash` is the sha256 of the file's bytes and is recorded with every batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from models.board import LONGEST_MODEL
from models.calls import Passage

ROLLUP = "rollup"
"""The recipe of a synthesis: an item whose parts are done is run with it (sql/migrations, penstock_advance)."""


PROMPT = "prompt"
"""The layer of what is noted of a prompt, among an attempt's checks."""


class Grounding(StrEnum):
    REQUIRED = "required"  # at least one citation, every one real and every quote found in it
    OPTIONAL = "optional"  # citations may be absent; those given must be real
    NONE = "none"


class Evidence(StrEnum):
    """What an answer's own text is searched for; each must exist among what was given."""

    QUOTES = "quotes"  # what stands in quotation marks or as a block quote
    FILES = "files"  # paths, and their lines
    URLS = "urls"
    IDS = "ids"  # of items and issues
    CODE = "code"  # fenced blocks of Python, JSON, TOML, YAML can be read
    PATCHES = "patches"  # unified diffs apply to the files they name


class AnswerLanguage(StrEnum):
    ITEM = "item"  # that of the item, where both are certain
    ANY = "any"


class CachePolicy(StrEnum):
    EXACT = "exact"  # an accepted answer to the very same request is taken for one
    OFF = "off"  # each item is asked for itself


class Part(StrEnum):
    """What of a prompt may be shortened where it does not fit into the model's context."""

    PARENT = "parent"  # the body of the parent, at the end of a paragraph
    PASSAGES = "passages"  # whole ones, lowest score first
    BODY = "body"  # the item's own, at the end of a paragraph


class ReviewPolicy(StrEnum):
    ON_FAILURE = "on_failure"
    ALWAYS = "always"  # a person decides even when every check passed; the answer is the proposal


class Check(BaseModel):
    """One Great Expectations expectation over the batch's table (columns: tasks.validate.COLUMNS)."""

    model_config = ConfigDict(extra="forbid")
    expect: str  # snake_case type, for example expect_column_value_lengths_to_be_between
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    says: str  # what a failing row means, in words for a person
    optional: bool = False  # True: a row that has no value in the check's column passes it


class JudgeRule(BaseModel):
    """A model that is asked whether the answer will do, after all other checks passed."""

    model_config = ConfigDict(extra="forbid")
    model: str = Field(min_length=1, description="always this one, at temperature 0")
    votes: int = Field(
        default=3, ge=1, le=9, description="how often it is asked; more than half must say pass"
    )
    asks: str = Field(default="", description="what it is to look at, beside the item's own criteria")


class Risk(StrEnum):
    """How bad a risk is."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"

    @property
    def rank(self) -> int:
        return list(Risk).index(self)


class CouncilMember(BaseModel):
    """Who is asked, on their own: nobody sees what the others say."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    persona: str = Field(
        min_length=1, max_length=4000, description="who they are and what they look at, as plain text"
    )
    model: str | None = Field(
        default=None,
        min_length=1,
        max_length=LONGEST_MODEL,
        description="which model is asked; none: that of the item, of the recipe `asks`, of the endpoint",
    )


class CouncilRule(BaseModel):
    """Several are asked the same question, and the recipe itself puts their opinions together to a decision."""

    model_config = ConfigDict(extra="forbid")
    members: list[CouncilMember] = Field(min_length=2, max_length=9)
    asks: str = Field(default="opinion", description="the recipe that members are asked with")
    quorum: int | None = Field(
        default=None, ge=1, description="how many must have answered; none: more than half"
    )
    least_confidence: float = Field(default=0.7, ge=0, le=1, description="below it a person decides")
    highest_risk: Risk = Field(default=Risk.MEDIUM, description="above it a person decides")

    @property
    def needed(self) -> int:
        return self.quorum or len(self.members) // 2 + 1


class Example(BaseModel):
    """An answer whose verdict is known; tasks.validate.examples holds the checks to it."""

    model_config = ConfigDict(extra="forbid")
    answer: str | dict[str, Any]
    question: str = "?"
    passages: dict[str, str] = Field(default_factory=dict, description="text by cite")
    fails: list[str] = Field(
        default_factory=list, description="names of the checks that fail; none: it passes"
    )


class RecipeHeader(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    about: str
    kinds: list[str] = Field(
        default_factory=list, description="item kinds done by this recipe; '*' is the rest"
    )
    answer_schema: dict[str, Any] | None = Field(default=None, description="JSON Schema of the answer")
    text_field: str = Field(
        default="answer", description="the property of the answer that is the result's text"
    )
    checks: list[Check] = Field(default_factory=list)
    grounding: Grounding = Grounding.OPTIONAL
    verify: list[Evidence] = Field(
        default_factory=list, description="what the answer's own text names must exist among what was given"
    )
    language: AnswerLanguage = AnswerLanguage.ITEM
    acceptance: bool = Field(
        default=True, description="the item's own criteria are checked where they can be"
    )
    judge: JudgeRule | None = None
    examples: list[Example] = Field(default_factory=list)
    review: ReviewPolicy = ReviewPolicy.ON_FAILURE
    fallback: str | None = Field(default=None, description="recipe to go on with when this one gives up")
    council: CouncilRule | None = Field(
        default=None, description="several are asked first; this recipe puts their opinions together"
    )
    splits: bool = Field(default=False, description="an accepted answer becomes child items (recipe `split`)")
    approve: bool = Field(default=False, description="a person approves a split before any part of it runs")
    backends: list[str] = Field(default_factory=list, description="allowed backends; empty: all")
    model: str | None = Field(
        default=None,
        min_length=1,
        max_length=LONGEST_MODEL,
        description="which model is asked, where the item names none; none: the endpoint's",
    )
    models: list[Annotated[str, Field(min_length=1, max_length=LONGEST_MODEL)]] = Field(
        default_factory=list,
        description="instead of `model`: the one that has done best is asked, others now and then "
        "(tasks/execute/routing.py)",
    )
    ladder: list[Annotated[str, Field(min_length=1, max_length=LONGEST_MODEL)]] = Field(
        default_factory=list,
        description="instead of `model`: the first is asked, and after failures the next (tasks/execute/policy.py)",
    )
    max_attempts: int | None = Field(default=None, ge=1)
    give_up_after: float | None = Field(
        default=None, gt=0, description="seconds since an item's first try, after which it is not tried again"
    )
    max_tokens: int = Field(default=1024, ge=16)
    temperature: float = Field(default=0.0, ge=0, le=2)
    pack: int | None = Field(
        default=None,
        ge=2,
        le=64,
        description="items that are asked in one request, at most; none: each alone",
    )
    cache: CachePolicy | None = Field(
        default=None,
        description="whether accepted answers are used again for the very same request; none: at temperature 0",
    )
    passages: int = Field(default=6, ge=0, le=50, description="how many passages of memory the prompt gets")
    files: int = Field(
        default=0, ge=0, le=50, description="how many passages of the board's folder or repository it gets"
    )
    cut: list[Part] = Field(
        default_factory=lambda: [Part.PARENT, Part.PASSAGES],
        description="what is shortened, in this order, where the prompt does not fit; nothing else is",
    )

    @property
    def first_model(self) -> str | None:
        """The model that is asked where nothing says more; None: the endpoint's."""
        return self.model or next(iter(self.ladder or self.models), None)


@dataclass(frozen=True, slots=True)
class Recipe:
    header: RecipeHeader
    system: str  # template
    prompt: str  # template
    text: str  # the whole file
    hash: str  # sha256, hex
    path: str  # for messages
    member_of: str | None = (
        None  # the council that asks with it: who gives up is missing there, no person is asked
    )

    @property
    def name(self) -> str:
        return self.header.name

    @property
    def synthesises(self) -> bool:
        """Is it made from the results of the item's parts?"""
        return self.name == ROLLUP or self.header.council is not None


class PromptItem(Protocol):
    """What a prompt is made from: an item's own words, all of them foreign text."""

    @property
    def kind(self) -> str: ...
    @property
    def ext_id(self) -> str | None: ...
    @property
    def title(self) -> str: ...
    @property
    def body(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def board_title(self) -> str: ...
    @property
    def parent_title(self) -> str | None: ...
    @property
    def parent_body(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Note:
    """What was done to a prompt before it was asked: kept with the attempt, for people."""

    check: str  # redacted, cut
    message: str

    def as_json(self) -> dict[str, Any]:
        """As an attempt keeps it among its checks: no failure, so it has no error type."""
        return {"layer": PROMPT, "check": self.check, "error_type": None, "message": self.message}


@dataclass(frozen=True, slots=True)
class Rendered:
    """One prompt, ready to be sent."""

    system: str
    prompt: str
    prompt_hash: str  # sha256, hex, of the recipe and of what went into it; the same for the same question
    passages: tuple[Passage, ...]  # those that fitted into the context: the only ones an answer may cite
    fence: str = (
        ""  # the random key in the prompt: all that tells it from the same question's in another process
    )
    max_tokens: int | None = None  # of the answer; None: as the recipe says
    tried: str = ""  # what is otherwise than at a first try, in words
    question: str = ""  # the item's own title and body, without secrets and what nobody sees
    notes: tuple[Note, ...] = ()
    too_long: str = ""  # why it must not be sent, in words: it does not fit whatever may be shortened
    can_shrink: bool = False  # it has something that a shorter one can do without

    @property
    def files(self) -> dict[str, str]:
        """Whole files among the passages, by path."""
        return {passage.file: passage.text for passage in self.passages if passage.file}
