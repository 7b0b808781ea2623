"""The Tracking API: Segment's calls over HTTP, durable before the response is sent. Plain ASGI on the hot path."""
