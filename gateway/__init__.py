"""The browsers' side: one ordered upstream, a hub, connections, and HTTP."""
