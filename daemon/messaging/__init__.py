"""ZeroMQ: the publisher, the request socket and the subscriber."""
