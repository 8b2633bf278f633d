"""What the commands of `segedu` do; their options are in `segedu.cli`."""
