"""What lies between a file's packets and upright pictures: damage, fields, turns, time stamps, the end."""
