"""Scans texts before they are published for e-mail addresses, phone numbers, keys and unsafe prompts.

A scan finds texts with a known form. A pattern finds e-mail addresses. `phonenumbers` finds phone numbers that have a
country code or are written as in the United States. Keys and passwords are found by the detectors of `detect-secrets`
that know a key by its own form, and by patterns for further providers. A prompt is unsafe if a provider's content
filter or a reviewer said so. Names, postal addresses and keys of an unknown form are not found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import polars as pl

from eva_data.dataset.ordered import height_of, id_of
from eva_data.dataset.store import Store
from eva_data.errors import MissingExtraError
from eva_data.tables.ranges import ranges_for

SHOWN = 3
"""Number of examples that are named of each kind."""

BESIDE = 12
"""Characters beside a number that are looked at with it."""

PACKAGES = {"detect_secrets": "detect-secrets", "phonenumbers": "phonenumbers"}
"""Imported module -> the package that holds it."""

_EMAIL = r"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@[A-Za-z0-9][A-Za-z0-9.-]{0,250}\.[A-Za-z]{2,24}"
_RESERVED = re.compile(r"@(?:.*\.)?(?:example(?:\.(?:com|net|org))?|test|invalid|localhost)$", re.IGNORECASE)
"""Domains that belong to nobody, so that texts may name them (RFC 2606)."""

_DETECTORS = (
    *("aws.AWSKeyDetector", "azure_storage_key.AzureStorageKeyDetector", "basic_auth.BasicAuthDetector"),
    *("discord.DiscordBotTokenDetector", "github_token.GitHubTokenDetector", "gitlab_token.GitLabTokenDetector"),
    *("jwt.JwtTokenDetector", "mailchimp.MailchimpDetector", "npm.NpmDetector", "openai.OpenAIDetector"),
    *("private_key.PrivateKeyDetector", "pypi_token.PypiTokenDetector", "sendgrid.SendGridDetector"),
    *("slack.SlackDetector", "square_oauth.SquareOAuthDetector", "stripe.StripeDetector"),
    *("telegram_token.TelegramBotTokenDetector", "twilio.TwilioKeyDetector"),
)
"""Detectors of detect-secrets. Detectors by entropy or by words beside a value are left out: prose has both."""
_FURTHER_KEYS = (
    r"\bhf_[A-Za-z0-9]{34}\b",  # Hugging Face
    r"\bsk-(?:ant|proj|or|svcacct)-[A-Za-z0-9_-]{20,}",  # Anthropic, OpenAI, OpenRouter
    r"\bAIza[A-Za-z0-9_-]{35}",  # Google
    r"\bgsk_[A-Za-z0-9]{40,}",  # Groq
)
_NO_WORD_BEHIND = r"(?!\w)"
_NUMBER_LIKE = r"\+?\(?\d(?:[ ().\-/]{0,3}\d){6,}"


@dataclass(frozen=True)
class Finding:
    """Findings of one kind."""

    kind: str
    count: int
    examples: tuple[str, ...]
    """The first findings, masked, with their places."""

    def and_then(self, more: Finding) -> Finding:
        """These findings and those in further texts."""
        return Finding(self.kind, self.count + more.count, (*self.examples, *more.examples)[:SHOWN])

    def sentence(self) -> str:
        more = ", ..." if self.count > len(self.examples) else ""
        return f"{self.count} {self.kind}: {', '.join(self.examples)}{more}"


def refuse_without_packages() -> None:
    """Raise MissingExtraError if the packages for a scan are missing."""
    for module, package in PACKAGES.items():
        if find_spec(module) is None:
            raise MissingExtraError.of(package, "publish")


def look_through(store: Store, iteration: int, tables: Sequence[str]) -> list[Finding]:
    """The findings in the texts of these tables of an iteration, by kind. A text in many rows counts once.

    Responses and prompts are scanned in `responses`, `prompts`, `evolutions` and `rejects`, since `preferences` repeats
    them. Raise MissingExtraError if a package is missing.
    """
    refuse_without_packages()
    doubtful = pl.any_horizontal(pl.col("text").str.contains(each) for each in (_EMAIL, _NUMBER_LIKE, *_key_patterns()))
    seen, found = pl.Series(dtype=pl.UInt64), _findings(pl.DataFrame(schema=_TEXTS))
    for part in _texts(store, iteration, tables):
        texts = part.filter(doubtful).with_columns(hash=pl.col("text").hash())
        texts = texts.filter(~pl.col("hash").is_in(seen.implode()))
        seen = seen.append(texts["hash"])
        found = [one.and_then(more) for one, more in zip(found, _findings(texts.drop("hash")), strict=True)]
    return [finding for finding in (*found, _unsafe(store, iteration, tables)) if finding.count]


def look_through_evaluations(rows: pl.DataFrame) -> list[Finding]:
    """The findings in the texts of EVALUATIONS rows, by kind. A text in many rows counts once."""
    refuse_without_packages()
    turns = pl.col("prompt").list.eval(pl.element().struct.field("content")).list.join("\n")
    place = pl.format("evaluations {}", pl.col("prompt_id").str.slice(0, 8))
    texts = [turns, *(pl.col(name) for name in ("response", "response_against", "raw"))]
    table = pl.concat([rows.lazy().select(place=place, text=text) for text in texts])
    distinct = table.drop_nulls("text").unique("text", keep="first", maintain_order=True).collect()
    return [finding for finding in _findings(distinct) if finding.count]


def look_through_ratings(rows: pl.DataFrame) -> list[Finding]:
    """The findings in the scorer's replies that PROMPT_SCORES rows hold, by kind."""
    refuse_without_packages()
    place = pl.format("prompt_scores {}", pl.col("prompt_id").str.slice(0, 8))
    texts = rows.select(place=place, text=pl.col("unscored")).drop_nulls("text").unique("text", maintain_order=True)
    return [finding for finding in _findings(texts) if finding.count]


def _findings(texts: pl.DataFrame) -> list[Finding]:
    """What patterns find in `place` and `text`."""
    return [
        _hits("e-mail addresses", texts.filter(pl.col("text").str.contains(_EMAIL)), _emails),
        _hits("phone numbers", _around(texts, _NUMBER_LIKE), _phones),
        _keys(texts),
    ]


_TEXTS = pl.Schema({"place": pl.String, "text": pl.String})
"""A text, and the table and id of a row that holds it."""


def _texts(store: Store, iteration: int, tables: Sequence[str]) -> Iterator[pl.DataFrame]:
    """_TEXTS, range by range of the ids of each table. Within a range, the texts are distinct."""
    turns = pl.col("prompt").list.eval(pl.element().struct.field("content")).list.join("\n")
    columns = {
        "prompts": [turns],
        "evolutions": [turns, pl.col("raw")],
        "responses": [pl.col("response")],
        "rejects": [pl.col("text")],
        "reviews": [pl.col("comment")],
    }
    for name in (name for name in columns if name in tables):
        table, row = store.scan(name, iteration), id_of(name)
        place = pl.format("{} {}", pl.lit(name), pl.col(row).fill_null("?").str.slice(0, 8))
        for part in ranges_for(height_of(table)):
            rows = part.with_nulls(table, row)
            texts = pl.concat([rows.select(place=place, text=text) for text in columns[name]])
            yield texts.drop_nulls("text").unique("text", keep="first", maintain_order=True).collect()


Find = Callable[[str], Iterator[str]]
"""Gives the findings in a text, masked."""


def _hits(kind: str, texts: pl.DataFrame, find: Find) -> Finding:
    # The libraries take one text at a time, so a pattern in polars first picks the texts that may hold something.
    hits = [f"{masked} in {place}" for place, text in texts.iter_rows() for masked in dict.fromkeys(find(text))]
    return Finding(kind, len(hits), tuple(hits[:SHOWN]))


def _around(texts: pl.DataFrame, pattern: str) -> pl.DataFrame:
    """Of each text only what the pattern finds, with the few characters beside it that say what it is."""
    beside = rf".{{0,{BESIDE}}}"
    return (
        texts.filter(pl.col("text").str.contains(pattern))
        .with_columns(text=pl.col("text").str.extract_all(f"{beside}(?:{pattern}){beside}"))
        .explode("text")
        .drop_nulls("text")
    )


def _emails(text: str) -> Iterator[str]:
    for found in re.finditer(_EMAIL, text):
        if not _RESERVED.search(found[0]):
            name, _, domain = found[0].partition("@")
            yield f"{name[0]}...@{domain[0]}...{domain[domain.rindex('.') :]}"


def _phones(text: str) -> Iterator[str]:
    from phonenumbers import Leniency, PhoneNumberMatcher

    for found in PhoneNumberMatcher(text, "US", leniency=Leniency.EXACT_GROUPING):
        # Bare digits may be any number.
        if not found.raw_string.isdigit():
            yield f"{found.raw_string[:4]}...{found.raw_string[-2:]}"


def _keys(texts: pl.DataFrame) -> Finding:
    """Keys by all patterns, each looked for by polars in all texts at once, in time that grows with their length."""
    found = [
        texts.filter(pl.col("text").str.contains(pattern))
        .select("place", key=pl.col("text").str.extract_all(pattern))
        .explode("key")
        for pattern in _key_patterns()
    ]
    keys = pl.concat([texts.select("place", key="text").clear(), *found]).unique(maintain_order=True)
    masked = pl.format("{}... ({} characters)", pl.col("key").str.slice(0, 4), pl.col("key").str.len_chars())
    hits = keys.select("place", masked=masked).unique(maintain_order=True)
    told = hits.head(SHOWN).select(pl.format("{} in {}", "masked", "place")).to_series().to_list()
    return Finding("keys or passwords", hits.height, tuple(told))


def _key_patterns() -> list[str]:
    """The patterns in the language of polars, which looks at no character behind a match."""
    patterns = [re.compile(pattern) for pattern in _FURTHER_KEYS]
    for name in _DETECTORS:
        module, _, detector = name.partition(".")
        patterns += getattr(import_module(f"detect_secrets.plugins.{module}"), detector)().denylist
    return [
        ("(?i)" if pattern.flags & re.IGNORECASE else "") + pattern.pattern.removesuffix(_NO_WORD_BEHIND)
        for pattern in patterns
    ]


def _unsafe(store: Store, iteration: int, tables: Sequence[str]) -> Finding:
    """Prompts that a reviewer called unsafe, or whose answer a provider's content filter stopped."""
    said = {
        "responses": (pl.col("finish_reason") == "content_filter", "a content filter stopped the answer"),
        "rejects": (pl.col("reason").str.contains(r"\bcontent_filter\b"), "a content filter refused it"),
        "reviews": (pl.col("prompt_quality") == "unsafe", "a reviewer says so"),
    }
    frames = [
        store.scan(name, iteration).filter(unsafe).select("prompt_id", why=pl.lit(why))
        for name, (unsafe, why) in said.items()
        if name in tables
    ]
    if not frames:
        return Finding("unsafe prompts", 0, ())
    prompts = pl.concat(frames).unique("prompt_id", keep="first", maintain_order=True).collect()
    examples = prompts.head(SHOWN).select(pl.format("{} ({})", pl.col("prompt_id").str.slice(0, 8), "why"))
    return Finding("unsafe prompts", prompts.height, tuple(examples.to_series().to_list()))
