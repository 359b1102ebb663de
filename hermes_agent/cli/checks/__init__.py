"""What `hermes doctor` and `hermes version` find out about the installation."""
