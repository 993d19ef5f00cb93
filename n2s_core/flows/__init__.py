"""What n2s does, one module a verb; a flow speaks to ports, not to a database or kind of store."""
