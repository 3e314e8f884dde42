"""What sessionwise costs and saves, beside its peers in the same run."""
