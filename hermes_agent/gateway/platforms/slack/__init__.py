"""Slack: an app in Socket Mode; no public address is needed."""
