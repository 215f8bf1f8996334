//! A user's mailboxes: Maildir++, names, listing, making, deleting, renaming, subscriptions, special uses.
pub mod mutf7;
mod name;
mod pattern;
pub mod subscriptions;
pub use name::{Name, NameError, Namespace};
pub use pattern::Pattern;
