//! The open mailbox of a session: the store's, under the name that commands know it by.

pub use common::mailbox::*;
