"""What clients and server say to each other: messages, commands, and who may see what."""
