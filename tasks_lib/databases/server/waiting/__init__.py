"""What to say, and when to give up, while a server or another session lets us wait."""
