"""Messages of one connection: dispatch, requests, tags."""
