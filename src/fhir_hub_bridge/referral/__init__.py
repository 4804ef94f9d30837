"""The program's rules: what a referral is, how it moves, who is owed which notice by when. Pure."""
