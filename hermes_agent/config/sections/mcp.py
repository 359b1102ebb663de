"""`mcp_servers`: servers of the Model Context Protocol."""

from typing import Literal

from pydantic import Field

from hermes_agent.config.sections.base import Section, Word


class McpToolFilterSettings(Section):
    """`mcp_servers.<name>.tools`: which of a server's tools are offered; `include` wins."""

    include: list[str] = Field(default_factory=list)
    """Only these, by their own names; empty means all."""
    exclude: list[str] = Field(default_factory=list)
    """All but these."""
    resources: bool = True
    """Offer the tools that list and read resources."""
    prompts: bool = True
    """Offer the tools that list and get prompts."""


class McpSamplingSettings(Section):
    """`mcp_servers.<name>.sampling`: model requests that a server may make through us."""

    enabled: bool = True
    """Answer them."""
    model: str = ""
    """Model; empty means `auxiliary.mcp`."""
    max_tokens_cap: int = Field(default=4096, ge=1)
    """Most tokens in one answer."""
    timeout: float = Field(default=30, gt=0)
    """Seconds for one request."""
    max_rpm: int = Field(default=10, ge=0)
    """Requests in a minute."""
    max_tool_rounds: int = Field(default=5, ge=0)
    """Tool rounds in one request."""
    allowed_models: list[str] = Field(default_factory=list)
    """Models a server may ask for; empty means any."""
    log_level: Literal["debug", "info", "warning"] = "info"
    """How loudly requests are logged."""


class McpOAuthSettings(Section):
    """`mcp_servers.<name>.oauth`."""

    client_id: str = ""
    """Registered client; empty registers one."""
    client_secret: str = ""
    """Its secret; better `${NAME}`."""
    scope: str = ""
    """Scopes to ask for."""
    redirect_port: int = Field(default=0, ge=0, le=65535)
    """Port of the local callback; 0 takes a free one."""
    client_name: str = "Hermes Agent"
    """Name to register."""
    timeout: float = Field(default=300, gt=0)
    """Seconds to wait for the browser."""
    issuer: str = ""
    """Authorization server that `client_id` belongs to; its secret goes nowhere else."""
    grant_type: Literal["authorization_code", "client_credentials"] = "authorization_code"
    """`client_credentials` signs in without a person."""
    token_endpoint_auth_method: Literal[
        "",
        "none",
        "client_secret_post",
        "client_secret_basic",
        "client_secret_jwt",
        "private_key_jwt",
        "tls_client_auth",
        "self_signed_tls_client_auth",
    ] = ""
    """How the client authenticates; empty follows the authorization server."""
    private_key: str = ""
    """PEM file that signs for `private_key_jwt`."""
    private_key_id: str = ""
    """Its `kid`."""
    client_metadata_url: str = ""
    """Address of our client metadata document, the client id where servers take such."""


class McpServerSettings(Section):
    """`mcp_servers.<name>`: a program (`command`) or an address (`url`)."""

    command: str = ""
    """Program to start; speaks over its standard input and output."""
    args: list[str] = Field(default_factory=list)
    """Its arguments."""
    env: dict[str, Word] = Field(default_factory=dict)
    """Added to its environment, which holds no secrets otherwise."""
    cwd: str = ""
    """Where it starts; empty means the working directory."""
    roots: list[str] = Field(default_factory=list)
    """Directories it is told to work in; empty means those among `args`, else the working directory."""
    url: str = ""
    """Address of a remote server."""
    transport: Literal["", "http", "sse"] = ""
    """How `url` speaks: Streamable HTTP or the older SSE; empty finds out."""
    headers: dict[str, Word] = Field(default_factory=dict)
    """Sent with every request to `url`."""
    auth: Literal["", "oauth"] = ""
    """`oauth` signs in with OAuth 2.1."""
    oauth: McpOAuthSettings = Field(default_factory=McpOAuthSettings)
    """OAuth details."""
    enabled: bool = True
    """Connect to it."""
    timeout: float = Field(default=120, gt=0)
    """Seconds for one tool call."""
    connect_timeout: float = Field(default=60, gt=0)
    """Seconds to connect."""
    idle_timeout: float = Field(default=900, ge=0)
    """Seconds without a call after which a program is stopped, until it is needed again; 0 is never."""
    tools: McpToolFilterSettings = Field(default_factory=McpToolFilterSettings)
    """Which of its tools are offered."""
    sampling: McpSamplingSettings = Field(default_factory=McpSamplingSettings)
    """Model requests it may make."""
    supports_parallel_tool_calls: bool = False
    """Its tools may run beside each other."""
    ssl_verify: bool = True
    """Check the server's certificate."""
    ca_cert: str = ""
    """File of authorities that are trusted besides the usual ones."""
    client_cert: str = ""
    """Client certificate file."""
    client_key: str = ""
    """Client key file."""


class McpSettings(Section):
    """`mcp`: what is common to all servers."""

    max_schema_tokens: int = Field(default=12_000, ge=0)
    """Tools of all servers whose descriptions are longer than this are found through `tool_search`."""
    discovery_wait: float = Field(default=2, ge=0)
    """Seconds the first message of a conversation waits for servers whose tools are not known yet."""
    discovery_timeout: float = Field(default=15, ge=0)
    """The same where nobody writes a second message: `hermes -z`, scheduled jobs."""


class McpRoot(Section):
    """MCP keys at the top level."""

    mcp_servers: dict[str, McpServerSettings] = Field(default_factory=dict)
    """MCP servers by name."""
    mcp: McpSettings = Field(default_factory=McpSettings)
    """What is common to all MCP servers."""
