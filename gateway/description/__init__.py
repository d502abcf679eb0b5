"""The descriptions of both interfaces, /openapi.json and /asyncapi.json, and the page to try them in, /api/docs."""
