"""Real agents, unmodified, through the gateway: `make test-agents`."""
