"""What programs tell of themselves: numbers in Prometheus' text, and the pages where they and health checks are."""
