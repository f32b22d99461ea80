"""Messages: their types, requests and responses, and what sends them."""
