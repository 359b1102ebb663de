"""Where commands run: this machine, a container, another host."""
