"""Dead letters: tasks that failed for good or can never run, kept in a queue until an operator decides."""
