"""hermes-agent: a self-hosted AI agent for the terminal, messaging platforms and an HTTP API.

The package has no public Python API yet: the contracts are the `hermes` command, the files under
`HERMES_HOME` and the HTTP endpoints. `docs/architecture.md` draws the layers.
"""

__version__ = "0.1.0"
