"""Values and ports: what every layer above may know. Standard library and pydantic only."""
