//! Messages as RFC 5322 and MIME (RFC 2045 to 2049, 2183, 2231) describe them, and as they really come.
//!
//! All of it is a stranger's. Nothing here fails but for the reading itself: what is malformed is understood as well as it can be,
//! and where that is nothing, it is text. Nesting, numbers and lengths are bounded; what lies beyond a bound is opaque, not
//! refused. No function recurses on what it reads, and bodies are never held in memory.
//!
//! ```text
//! tree          parts and where they are: one pass over a message of any size
//! position      octets and lines, as if every line ended with CR LF
//! header        fields of a header, folded and unfolded
//! token         atoms, quoted strings, comments
//! boundary      the lines between parts
//! content       Content-Type and -Disposition with parameters (RFC 2231), Content-Language
//! address       lists of addresses
//! date          dates
//! message_id    message-ids of In-Reply-To and References
//! encoded_word  RFC 2047
//! ```

pub mod address;
pub mod boundary;
pub mod content;
pub mod date;
pub mod encoded_word;
pub mod header;
pub mod message_id;
pub mod position;
mod token;
pub mod tree;

/// Turns octets in a charset into text, appended to the string. `false`: it does not know the charset, and appended nothing.
///
/// The charset's name is as the message has it, in any case, without the language that RFC 2231 allows behind a `*`.
pub type Decode<'a> = &'a mut dyn FnMut(&[u8], &[u8], &mut String) -> bool;
