"""Task records: what became of each tenant's tasks, kept in Redis for a while, and told live."""
