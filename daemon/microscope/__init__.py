"""The process that drives the microscope, and its supervision by the service."""
