"""Code shared by both transports: protocol, answer collector, stop sequences, failures."""
