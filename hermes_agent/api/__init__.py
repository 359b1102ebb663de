"""The OpenAI-compatible HTTP server: chat completions, responses, runs. See docs/api.md."""
