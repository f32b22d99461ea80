"""One connection on a Twisted transport."""
