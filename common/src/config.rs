//! Settings: their names, values, defaults, and the file and command line they come from.
