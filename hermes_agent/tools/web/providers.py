"""Search and reading services, as data: how each is asked and where its answer has what.

A template is a JSON value in which `{query}`, `{limit}`, `{url}` and `{key}` stand for values; a text
that is only `{limit}` becomes a number. A path is dotted, into the service's JSON answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from hermes_agent.core.egress import EgressError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One request of a service and how its answer is read.

    Attributes:
        params: Query of the URL.
        payload: JSON body; None sends none.
        form: Form body.
        results: Path of the list of results; several are tried. An empty path is the answer itself.
        url: Field of a result; likewise `title` and `text` (the first field that has something).
        answer: `json`, or `duckduckgo` for that service's page.
    """

    path: str
    method: Literal["GET", "POST"] = "POST"
    params: Mapping[str, str] = field(default_factory=dict)
    payload: Mapping[str, Any] | None = None
    form: Mapping[str, str] | None = None
    results: tuple[str, ...] = ("results",)
    url: tuple[str, ...] = ("url",)
    title: tuple[str, ...] = ("title",)
    text: tuple[str, ...] = ("content",)
    answer: Literal["json", "duckduckgo"] = "json"


@dataclass(frozen=True, slots=True)
class Provider:
    """A service.

    Attributes:
        keys: Environment variables that may hold its key; empty if it needs none.
        url_variable: Environment variable with its address, if people run their own.
        base_url: Its address otherwise; empty if there is none.
        headers: Sent with every request.
        max_results: The most it gives.
    """

    id: str
    name: str
    keys: tuple[str, ...] = ()
    url_variable: str = ""
    base_url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    search: Endpoint | None = None
    extract: Endpoint | None = None
    max_results: int = 20


PROVIDERS: Final[tuple[Provider, ...]] = (
    Provider(
        "searxng",
        "SearXNG",
        url_variable="SEARXNG_URL",
        search=Endpoint("/search", "GET", params={"q": "{query}", "format": "json"}),
    ),
    Provider(
        "tavily",
        "Tavily",
        keys=("TAVILY_API_KEY",),
        base_url="https://api.tavily.com",
        headers={"Authorization": "Bearer {key}"},
        search=Endpoint("/search", payload={"query": "{query}", "max_results": "{limit}"}),
        extract=Endpoint(
            "/extract", payload={"urls": ["{url}"], "format": "markdown"}, text=("raw_content", "content")
        ),
    ),
    Provider(
        "exa",
        "Exa",
        keys=("EXA_API_KEY",),
        base_url="https://api.exa.ai",
        headers={"x-api-key": "{key}"},
        search=Endpoint(
            "/search",
            payload={
                "query": "{query}",
                "numResults": "{limit}",
                "contents": {"text": {"maxCharacters": 400}},
            },
            text=("text", "summary"),
        ),
        extract=Endpoint("/contents", payload={"urls": ["{url}"], "text": True}, text=("text",)),
    ),
    Provider(
        "firecrawl",
        "Firecrawl",
        keys=("FIRECRAWL_API_KEY",),
        url_variable="FIRECRAWL_API_URL",
        base_url="https://api.firecrawl.dev",
        headers={"Authorization": "Bearer {key}"},
        search=Endpoint(
            "/v2/search",
            payload={"query": "{query}", "limit": "{limit}"},
            results=("data.web", "data"),
            text=("description", "markdown"),
        ),
        extract=Endpoint(
            "/v2/scrape",
            payload={"url": "{url}", "formats": ["markdown"], "onlyMainContent": True},
            results=("data",),
            url=("metadata.sourceURL", "metadata.url"),
            title=("metadata.title",),
            text=("markdown",),
        ),
    ),
    Provider(
        "brave",
        "Brave Search",
        keys=("BRAVE_SEARCH_API_KEY", "BRAVE_API_KEY"),
        base_url="https://api.search.brave.com",
        headers={"X-Subscription-Token": "{key}", "Accept": "application/json"},
        search=Endpoint(
            "/res/v1/web/search",
            "GET",
            params={"q": "{query}", "count": "{limit}"},
            results=("web.results",),
            text=("description",),
        ),
    ),
    Provider(
        "ddgs",
        "DuckDuckGo",
        base_url="https://html.duckduckgo.com",
        search=Endpoint("/html/", form={"q": "{query}"}, answer="duckduckgo"),
        max_results=30,
    ),
)
"""All services. The first that is set up is taken; the last needs nothing."""

Variable = Callable[[str], str | None]


def get_provider(identifier: str) -> Provider | None:
    """The service of that name."""
    return next((provider for provider in PROVIDERS if provider.id == identifier), None)


def key_of(provider: Provider, variable: Variable) -> str:
    """Its key, or an empty text."""
    return next((value for name in provider.keys if (value := variable(name))), "")


def base_url_of(provider: Provider, variable: Variable) -> str:
    """Its address without a slash at the end, or an empty text."""
    own = variable(provider.url_variable) if provider.url_variable else None
    return (own or provider.base_url).rstrip("/")


def is_ready(provider: Provider, variable: Variable) -> bool:
    """Whether it has an address and the key it needs (a service of one's own may need none)."""
    if not base_url_of(provider, variable):
        return False
    has_own = bool(provider.url_variable and variable(provider.url_variable))
    return has_own or not provider.keys or bool(key_of(provider, variable))


def choose(wanted: str, task: Literal["search", "extract"], variable: Variable) -> Provider | None:
    """The service for a task: the wanted one, or the first that is ready; None if there is none.

    Raises:
        EgressError: The wanted one is unknown here, cannot do it, or lacks its key.
    """
    if not wanted:
        able = (provider for provider in PROVIDERS if getattr(provider, task) is not None)
        return next((provider for provider in able if is_ready(provider, variable)), None)
    provider = get_provider(wanted)
    if provider is None or getattr(provider, task) is None:
        able_ids = ", ".join(known.id for known in PROVIDERS if getattr(known, task) is not None)
        raise EgressError(
            f"The web back end {wanted!r} cannot {task} in this version",
            remedy=f"web.{task}_backend can be: {able_ids}",
        )
    if not is_ready(provider, variable):
        missing = provider.keys[0] if provider.keys else provider.url_variable
        raise EgressError(
            f"{provider.name} is chosen for the web, but {missing} is not set",
            remedy=f"A person can set it: hermes config set {missing} …",
        )
    return provider


def filled(template: Any, values: Mapping[str, str | int]) -> Any:
    """The template with its places filled."""
    if isinstance(template, Mapping):
        return {name: filled(inner, values) for name, inner in template.items()}
    if isinstance(template, list | tuple):
        return [filled(inner, values) for inner in template]
    if not isinstance(template, str):
        return template
    if template.startswith("{") and template[1:-1] in values and template.endswith("}"):
        return values[template[1:-1]]
    for name, value in values.items():
        template = template.replace("{" + name + "}", str(value))
    return template


def dig(value: Any, path: str) -> Any:
    """What stands at a dotted path; None if nothing does."""
    for name in path.split(".") if path else ():
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def first_text(value: Any, paths: tuple[str, ...]) -> str:
    """The first of these fields that is a text with something in it."""
    for path in paths:
        found = dig(value, path)
        if isinstance(found, str) and found.strip():
            return found.strip()
    return ""
