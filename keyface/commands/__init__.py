"""The subcommands of `keyface`: plain typed functions, a module each, in folders by what they are for."""
