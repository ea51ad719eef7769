"""How `isc.template` knows where every character of a rendered template came from."""
