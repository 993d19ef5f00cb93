"""The only place that builds: it knows which store, catalogue and plugin stand behind the ports."""
