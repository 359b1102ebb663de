"""What makes a process a service: supervised tasks, systemd, control socket, state files."""
