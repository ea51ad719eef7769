"""Files of conversations to training samples."""
