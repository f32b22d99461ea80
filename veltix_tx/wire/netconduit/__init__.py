"""The wire of netconduit, releases 2.0.0 to 5.0.0: frames of 32 bytes and a msgpack payload, after a password."""
