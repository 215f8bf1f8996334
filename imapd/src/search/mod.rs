//! SEARCH (RFC 3501 section 6.4.4), with ESEARCH (RFC 4731), WITHIN (RFC 5032) and MODSEQ (RFC 7162 section 3.1.5).
//!
//! ```text
//! program    keys compiled            engine     over the mailbox, cheap questions first
//! messages   what a mailbox answers   selected   the selected mailbox as that
//! matcher    texts in a file          parts, transfer, words   the file, its bodies and its headers as text
//! found      the result
//! ```

pub mod engine;
pub mod found;
pub mod matcher;
pub mod messages;
pub mod parts;
pub mod program;
pub mod transfer;
pub mod words;
