"""Looks through the texts that are about to be published: addresses, phone numbers, keys, and prompts found unsafe.

A look finds what has a form. E-mail addresses are found by a pattern, phone numbers by `phonenumbers` (with a country
code, or written as in the United States), keys and passwords by those detectors of `detect-secrets` that know a key by
its own form, and by patterns for further providers. Unsafe is what somebody said to be: a provider's content filter, or
a reviewer. Names and postal addresses, and keys of no known form, are not found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import polars as pl

from eva_data.dataset.store import Store
from eva_data.errors import MissingExtraError

SHOWN = 3
"""Examples of each kind that are named."""

BESIDE = 12
"""Characters beside a number that are looked at with it."""

PACKAGES = {"detect_secrets": "detect-secrets", "phonenumbers": "phonenumbers"}
"""What is imported, and the package that has it."""

_EMAIL = r"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@[A-Za-z0-9][A-Za-z0-9.-]{0,250}\.[A-Za-z]{2,24}"
_RESERVED = re.compile(r"@(?:.*\.)?(?:example(?:\.(?:com|net|org))?|test|invalid|localhost)$", re.IGNORECASE)
"""Domains that belong to nobody, so that texts can name them (RFC 2606)."""

_DETECTORS = (
    *("aws.AWSKeyDetector", "azure_storage_key.AzureStorageKeyDetector", "basic_auth.BasicAuthDetector"),
    *("discord.DiscordBotTokenDetector", "github_token.GitHubTokenDetector", "gitlab_token.GitLabTokenDetector"),
    *("jwt.JwtTokenDetector", "mailchimp.MailchimpDetector", "npm.NpmDetector", "openai.OpenAIDetector"),
    *("private_key.PrivateKeyDetector", "pypi_token.PypiTokenDetector", "sendgrid.SendGridDetector"),
    *("slack.SlackDetector", "square_oauth.SquareOAuthDetector", "stripe.StripeDetector"),
    *("telegram_token.TelegramBotTokenDetector", "twilio.TwilioKeyDetector"),
)
"""Of detect-secrets, without those that go by entropy or by words beside a value: prose has too much of both."""
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
    """One kind of what was found."""

    kind: str
    count: int
    examples: tuple[str, ...]
    """Where the first ones are, and what they are, masked."""

    def sentence(self) -> str:
        more = ", ..." if self.count > len(self.examples) else ""
        return f"{self.count} {self.kind}: {', '.join(self.examples)}{more}"


def refuse_without_packages() -> None:
    """Raise MissingExtraError where a look is not possible."""
    for module, package in PACKAGES.items():
        if find_spec(module) is None:
            raise MissingExtraError.of(package, "publish")


def look_through(store: Store, iteration: int, tables: Sequence[str]) -> list[Finding]:
    """What the texts of these tables of an iteration hold, by kind; a text that stands in many rows counts once.

    Responses and prompts are looked at in `responses`, `prompts`, `evolutions` and `rejects`; `preferences` repeat
    them. Raises MissingExtraError where a package is missing.
    """
    refuse_without_packages()
    texts = _texts(store, iteration, tables)
    found = [
        _hits("e-mail addresses", texts.filter(pl.col("text").str.contains(_EMAIL)), _emails),
        _hits("phone numbers", _around(texts, _NUMBER_LIKE), _phones),
        _keys(texts),
        _unsafe(store, iteration, tables),
    ]
    return [finding for finding in found if finding.count]


def _texts(store: Store, iteration: int, tables: Sequence[str]) -> pl.DataFrame:
    """`place` (the table and id of a row) and `text`, every text once."""
    turns = pl.col("prompt").list.eval(pl.element().struct.field("content")).list.join("\n")
    columns = {
        "prompts": [("prompt_id", turns)],
        "evolutions": [("chain_id", turns), ("chain_id", pl.col("raw"))],
        "responses": [("prompt_id", pl.col("response"))],
        "rejects": [("prompt_id", pl.col("text"))],
        "reviews": [("pair_id", pl.col("comment"))],
    }
    frames = [
        store.scan(name, iteration).select(
            place=pl.format("{} {}", pl.lit(name), pl.col(row).fill_null("?").str.slice(0, 8)), text=text
        )
        for name in columns
        if name in tables
        for row, text in columns[name]
    ]
    if not frames:
        return pl.DataFrame(schema={"place": pl.String, "text": pl.String})
    return pl.concat(frames).drop_nulls("text").unique("text", keep="first", maintain_order=True).collect()


Find = Callable[[str], Iterator[str]]
"""From a text to what it holds, masked."""


def _hits(kind: str, texts: pl.DataFrame, find: Find) -> Finding:
    # The libraries take one text at a time, so only those are asked about that a pattern of polars lets through.
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
        # Digits alone are a number like any other.
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
    """Prompts whose answer a provider's content filter stopped, or that a reviewer called unsafe."""
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
