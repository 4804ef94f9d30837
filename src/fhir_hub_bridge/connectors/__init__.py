"""How we reach partners: the only sockets and files of theirs."""
