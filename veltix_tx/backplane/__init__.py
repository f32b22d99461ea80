"""Backplane: messages, presence, history and requests between the nodes of a service, in memory by default."""
