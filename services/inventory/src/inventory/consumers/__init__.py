"""All that inventory hears: requests it answers and events it follows."""
