"""What we keep: the only SQL. Plain functions on a Connection; `transaction` runs them."""
