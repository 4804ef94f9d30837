"""IN: every change of a referral, by one write path."""
