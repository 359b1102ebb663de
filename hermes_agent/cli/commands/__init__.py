"""One click command per file; `hermes_agent.cli.table` names them."""
