"""The service process: configuration, main loop, messages, reports and command line."""
