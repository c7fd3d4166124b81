"""Rules that objects must obey, one module per family of kinds. Pure; each rule yields FieldErrors."""
