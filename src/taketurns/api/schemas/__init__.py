"""What the API takes and gives. The docstrings are the descriptions in its OpenAPI document."""
