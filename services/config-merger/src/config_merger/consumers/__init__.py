"""All that config-merger hears: the request it answers and the definitions it follows."""
