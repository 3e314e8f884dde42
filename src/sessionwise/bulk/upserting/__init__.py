"""What an upsert or an update needs beside an insert: what is set, and which rows are there."""
