"""The Veltix wire: layouts, frames, handshakes and releases of every published generation."""
