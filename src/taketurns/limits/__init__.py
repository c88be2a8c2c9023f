"""Rate and concurrency limits: their text form, and the limiter that keeps them."""
