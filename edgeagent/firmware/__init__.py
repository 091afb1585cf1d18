"""The firmware of RP2040 microcontrollers, on the host's side: where it is, what is sent to a board, and what becomes of it there."""
