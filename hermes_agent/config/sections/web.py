"""`web`: searching and reading the web."""

from typing import Literal

from pydantic import Field

from hermes_agent.config.sections.base import Section

WebBackend = Literal["", "firecrawl", "searxng", "brave", "ddgs", "tavily", "exa", "parallel", "xai"]


class WebSettings(Section):
    """`web`."""

    backend: WebBackend = ""
    """Service for searching and reading; empty takes the first one that has a key."""
    search_backend: WebBackend = ""
    """Service for searching only."""
    extract_backend: WebBackend = ""
    """Service for reading only."""
    summarize_above_chars: int = Field(default=5_000, ge=0)
    """Characters above which a page is summarised."""
    max_page_chars: int = Field(default=2_000_000, ge=1)
    """Characters above which a page is refused."""
