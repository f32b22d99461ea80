"""Plain wires: text or bytes framed by lines, the end of the stream, a length or delimiters, or not at all."""
