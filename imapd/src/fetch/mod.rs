//! FETCH (RFC 3501 section 6.4.5, RFC 7162 section 3.1.4).

pub mod digester;
pub mod envelope;
pub mod structure;
