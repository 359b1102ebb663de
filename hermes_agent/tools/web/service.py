"""Asks one search or reading service, as its `Endpoint` says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from hermes_agent.core.egress import EgressError, Fetched, Fetcher
from hermes_agent.core.loading import load
from hermes_agent.tools.web.providers import (
    Endpoint,
    Provider,
    Variable,
    base_url_of,
    dig,
    filled,
    first_text,
    key_of,
)

SNIPPET_CHARS: Final = 400
_ANSWER_BYTES: Final = 20_000_000


@dataclass(frozen=True, slots=True)
class Found:
    """One result: of a search with a snippet, of reading with the whole text."""

    url: str
    title: str
    text: str


class WebService:
    """A service with its key and address."""

    def __init__(self, provider: Provider, variable: Variable, fetcher: Fetcher) -> None:
        self.provider = provider
        self._variable = variable
        self._fetcher = fetcher

    async def search(self, query: str, limit: int) -> list[Found]:
        """Search the web.

        Raises:
            EgressError: The service cannot be reached, refuses, or answers nonsense.
        """
        endpoint = self.provider.search
        assert endpoint is not None
        wanted = min(limit, self.provider.max_results)
        answer = await self._ask(endpoint, {"query": query, "limit": wanted})
        found = [item for item in await self._read(endpoint, answer) if item.url]
        return [Found(item.url, item.title, _snippet(item.text)) for item in found[:wanted]]

    async def extract(self, url: str) -> Found:
        """Read a page.

        Raises:
            EgressError: As above, or the service could not read it.
        """
        endpoint = self.provider.extract
        assert endpoint is not None
        answer = await self._ask(endpoint, {"url": url, "query": "", "limit": 1})
        found = [item for item in await self._read(endpoint, answer) if item.text]
        if not found:
            raise EgressError(f"{self.provider.name} found no text at {url}")
        return Found(found[0].url or url, found[0].title, found[0].text)

    async def _ask(self, endpoint: Endpoint, values: dict[str, str | int]) -> Fetched:
        provider = self.provider
        key = key_of(provider, self._variable)
        values = {**values, "key": key}
        url = base_url_of(provider, self._variable) + endpoint.path
        if endpoint.params:
            url += "?" + urlencode(filled(endpoint.params, values))
        headers = {
            name: str(filled(value, values))
            for name, value in provider.headers.items()
            if key or "{key}" not in value
        }
        body: bytes | None = None
        if endpoint.payload is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(filled(endpoint.payload, values)).encode()
        elif endpoint.form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urlencode(filled(endpoint.form, values)).encode()
        answer = await self._fetcher.fetch(
            url,
            method=endpoint.method,
            headers=headers,
            body=body,
            max_bytes=_ANSWER_BYTES,
            timeout_seconds=60,
        )
        if answer.status >= 400:
            raise self._refused(answer)
        return answer

    def _refused(self, answer: Fetched) -> EgressError:
        name, status = self.provider.name, answer.status
        said = " ".join(answer.body[:300].decode(errors="replace").split())
        if status in (401, 403):
            names = " or ".join(self.provider.keys) or "its settings (JSON answers must be switched on)"
            return EgressError(f"{name} refused the request ({status})", why=said, remedy=f"Check {names}.")
        if status in (402, 429):
            return EgressError(f"{name} takes no more requests now ({status})", why=said)
        return EgressError(f"{name} failed ({status})", why=said)

    async def _read(self, endpoint: Endpoint, answer: Fetched) -> Sequence[Found]:
        if endpoint.answer == "duckduckgo":
            return await asyncio.to_thread(read_duckduckgo, answer.body)
        try:
            data = json.loads(answer.body)
        except ValueError as error:
            raise EgressError(
                f"{self.provider.name} did not answer with JSON",
                why=f"It sent {answer.media_type or 'something unnamed'}.",
            ) from error
        return _results(data, endpoint)


def _results(data: Any, endpoint: Endpoint) -> list[Found]:
    for path in endpoint.results:
        rows = dig(data, path)
        if isinstance(rows, dict):
            rows = [rows]
        if isinstance(rows, list):
            return [
                Found(
                    first_text(row, endpoint.url),
                    first_text(row, endpoint.title),
                    first_text(row, endpoint.text),
                )
                for row in rows
                if isinstance(row, dict)
            ]
    return []


def read_duckduckgo(page: bytes) -> list[Found]:
    """Results in DuckDuckGo's page without scripts.

    Raises:
        EgressError: It asks to prove that a person searches.
    """
    parse = load("lxml.html:document_fromstring")
    tree = parse(page.strip() or b"<html></html>")
    found = []
    for link in tree.xpath('//a[contains(concat(" ", @class, " "), " result__a ")]'):
        target = link.get("href", "")
        inner = parse_qs(urlsplit(target).query).get("uddg")
        url = inner[0] if inner else target
        if not url.startswith("http") or "duckduckgo.com/y.js" in url:
            continue
        texts = link.xpath(
            'ancestor::div[contains(concat(" ", @class, " "), " result ")][1]'
            '//*[contains(concat(" ", @class, " "), " result__snippet ")]'
        )
        snippet = " ".join(texts[0].text_content().split()) if texts else ""
        found.append(Found(url, " ".join(link.text_content().split()), snippet))
    if not found and (b"anomaly" in page or b"challenge" in page):
        raise EgressError(
            "DuckDuckGo takes no more searches from here now",
            remedy="Wait, or set up another one: SEARXNG_URL, BRAVE_API_KEY, TAVILY_API_KEY, EXA_API_KEY.",
        )
    return found


def _snippet(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SNIPPET_CHARS else line[: SNIPPET_CHARS - 1] + "…"
