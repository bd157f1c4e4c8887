"""What the HTTP services share: problems, bodies, callers, health."""
