"""Wire dialects, providers and the behaviour around them (retry, fallback, key rotation)."""
