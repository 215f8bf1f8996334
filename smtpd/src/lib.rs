//! SMTP, submission and LMTP (RFC 5321, 6409, 2033): the server, local delivery, the queue and what sends from it.
//!
//! ```text
//! client -> front (grammar, mail data) --requests--> guard (who may send what where)
//!                        \--pieces of the message--> writer (uid of the recipient: Maildir; of mail_owner: queue)
//! queue  -> runner (uid of mail_owner) -> remote host, or guard -> writer of the recipient
//! ```

pub mod address;
pub mod bounce;
pub mod client;
pub mod command;
pub mod data;
pub mod deliver;
pub mod envelope;
pub mod queue;
pub mod received;
pub mod reply;
pub mod route;
pub mod rules;
pub mod runner;
pub mod status;
pub mod users;
pub mod values;
