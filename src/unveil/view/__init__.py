"""The viewer: a local page that shows what was found, and lets a person put it right."""
