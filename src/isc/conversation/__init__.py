"""Uses of a format with a vocabulary: render, bridge, train, play."""
