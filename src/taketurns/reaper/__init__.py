"""The reaper: it removes idle tenant queues, and the recoverer beside it sends lost tasks on."""
