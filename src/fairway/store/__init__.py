"""What is remembered: keys, bytes, revisions, watches. Knows no Kubernetes; uses no other room."""
