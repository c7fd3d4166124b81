"""SPDY/3.1 (draft-mbelshe-httpbis-spdy-00, revision 3.1) without I/O: bytes in, frames and events out."""
