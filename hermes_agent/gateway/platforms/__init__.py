"""One folder per platform: `settings.py`, `adapter.py`, `formatting.py`. See docs/platforms.md."""
