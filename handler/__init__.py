"""The Durable Streams protocol over HTTP, on a log."""
