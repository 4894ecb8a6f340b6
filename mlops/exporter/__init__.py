"""The exporter: figures of the loop for Prometheus, read where they are, with rights to read alone."""
