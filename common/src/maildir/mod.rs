//! The mail store: Maildir, its UIDs in Dovecot's files, and reading messages from it.
