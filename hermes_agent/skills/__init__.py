"""Skills: folders of instructions (agentskills.io) that the agent loads when a task fits."""
