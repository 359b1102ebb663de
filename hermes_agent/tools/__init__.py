"""What the model can do: typed async functions, grouped in toolsets."""
