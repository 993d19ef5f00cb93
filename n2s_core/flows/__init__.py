"""What n2s does, one module a verb; every flow speaks to ports, never to a database or a store kind."""
