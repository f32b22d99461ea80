# Change level at runtime
logger.set_level(LogLevel.WARNING)
