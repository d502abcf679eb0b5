"""The protocol between server and clients, without a transport: messages, commands, topics and grants."""
