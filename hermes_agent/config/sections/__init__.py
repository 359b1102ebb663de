"""One typed section of config.yaml per file; defaults are the documented ones."""
