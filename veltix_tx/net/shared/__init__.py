"""State that the connections of one server or client share: context, admission, budgets, counters, keepalive, log limiter."""
