"""Code that both transports share: protocol, answer collector, stop sequences, failures."""
