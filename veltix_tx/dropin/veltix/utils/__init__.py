"""JSON, UTF-8 and sizes, where upstream's documents have them."""

from veltix_tx.encodings import decode_json, decode_utf8, encode_json, encode_utf8, format_bytes

__all__ = ["decode_json", "decode_utf8", "encode_json", "encode_utf8", "format_bytes"]
