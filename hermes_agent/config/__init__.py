"""Settings, .env, managed mode and paths: the only reader of the process environment."""
