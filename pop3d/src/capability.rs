//! The list of CAPA (RFC 2449 section 5), which must be true in the state it is asked in.

use common::config::Config;
use common::io::{Conn, Ending};

/// What the answer depends on.
pub enum Asked<'a> {
    /// Before the login: the SASL mechanisms and whether USER and STLS would be taken now.
    Authorization {
        /// Their names, blank-separated; empty when none may be used now.
        mechanisms: &'a str,
        /// USER and PASS would be taken.
        user: bool,
        /// STLS would be taken.
        stls: bool,
    },
    /// After the login.
    Transaction,
}

/// Answers CAPA.
pub fn list(conn: &mut Conn, config: &Config, asked: &Asked<'_>) -> Result<(), Ending> {
    conn.push_line(crate::reply::CAPABILITIES)?;
    for capability in ["TOP", "UIDL", "RESP-CODES", "PIPELINING", "AUTH-RESP-CODE"] {
        conn.push_line(capability)?;
    }
    if let Asked::Authorization { mechanisms, user, stls } = asked {
        if *user {
            conn.push_line("USER")?;
        }
        if !mechanisms.is_empty() {
            conn.push_fmt(format_args!("SASL {mechanisms}\r\n"))?;
        }
        if *stls {
            conn.push_line("STLS")?;
        }
    }
    // RFC 2449 6.7: we never delete a message that the client did not mark.
    conn.push_line("EXPIRE NEVER")?;
    let delay = config.pop3_login_delay.as_secs();
    if delay > 0 {
        conn.push_fmt(format_args!("LOGIN-DELAY {delay}\r\n"))?;
    }
    // RFC 6856 section 2: USER says that names and passwords may be UTF-8.
    conn.push_line("UTF8 USER")?;
    conn.push_line("LANG")?;
    conn.push_line("IMPLEMENTATION tinmail")?;
    conn.push_line(".")
}
