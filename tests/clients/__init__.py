"""WebSocket clients of others, as their users have them: what they negotiate, what they send, how they close."""
