"""The agent: loop, prompt, approvals, commands. Knows core ports, never an implementation."""
