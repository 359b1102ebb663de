"""The hermes command: parse, call, print. Command modules are loaded lazily by table."""
