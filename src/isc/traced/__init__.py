"""`isc.template`: templates whose render knows the origin of every character."""
