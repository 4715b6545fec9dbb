"""Files from elsewhere: over HTTP, from S3, from a local folder."""
