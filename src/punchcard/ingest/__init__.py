"""The Tracking API: Segment's calls over HTTP, durable before they are answered. Plain ASGI on the hot path."""
