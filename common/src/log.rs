//! The log: syslog, a file or standard error, never the client.
