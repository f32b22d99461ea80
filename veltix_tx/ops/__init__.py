"""Operation of a server: processes, configuration, metrics, administration."""
