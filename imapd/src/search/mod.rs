//! SEARCH (RFC 3501 section 6.4.4).

pub mod found;
pub mod parts;
pub mod transfer;
pub mod words;
