"""What is known of a version, a request and a holder: facts as they were read, or a named absence."""
