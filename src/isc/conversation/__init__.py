"""What people do with a format and a vocabulary: render, bridge, train, play."""
