//! SMTP, submission and LMTP (RFC 5321, 6409, 2033): the server, local delivery, the queue and what sends from it.
//!
//! ```text
//! client -> front (grammar, mail data) --requests--> guard (who may send what where)
//!                        \--pieces of the message--> writer (uid of the recipient: Maildir; of mail_owner: queue)
//! queue  -> runner (uid of mail_owner) -> remote host, or guard -> writer of the recipient
//! ```

pub mod address;
pub mod aliases;
pub mod bounce;
pub mod classes;
pub mod client;
pub mod command;
pub mod data;
pub mod deliver;
pub mod directory;
pub mod envelope;
mod expand;
pub mod logical;
pub mod map;
pub mod networks;
pub mod queue;
pub mod received;
pub mod reply;
pub mod restrictions;
pub mod route;
pub mod rules;
pub mod runner;
pub mod status;
#[cfg(test)]
mod testing;
pub mod users;
pub mod values;
