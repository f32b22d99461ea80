"""What messages mean: routes, live sessions, ready-made applications. Sees sessions, never a transport."""
