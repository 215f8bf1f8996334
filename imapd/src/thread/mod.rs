//! THREAD (RFC 5256 section 3): ORDEREDSUBJECT, REFERENCES and REFS.

pub mod print;
pub mod tree;
