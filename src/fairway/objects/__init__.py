"""What people write: kinds, their schemas, the strict codec, defaults and validation. Uses only packet and node."""
