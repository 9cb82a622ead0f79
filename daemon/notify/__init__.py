"""The process that notifies people of alerts and rankings; the service never imports it."""
