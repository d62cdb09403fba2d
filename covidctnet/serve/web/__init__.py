"""A web page that answers what is uploaded to it."""
