"""Meaning of messages: routes, live sessions, plugins, ready-made applications. Sees sessions, never a transport."""
