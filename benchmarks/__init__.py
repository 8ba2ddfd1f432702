"""gradxform beside optax and torch on the same work, measured in one run."""
