"""Drop-in replacements: the upstream libraries' own names and behaviour."""
