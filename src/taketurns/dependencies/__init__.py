"""Tasks that wait for others: where they wait, what lets them go, and what becomes of them if that never comes."""
