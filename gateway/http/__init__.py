"""What every HTTP request passes: the request guard, the parsed head, errors, query parameters, static files."""
