//! LOGIN-DELAY (RFC 2449 sections 6.5 and 8.1.1): a pause between logins that the administrator may ask for.
//!
//! The time of the last login is the modification time of an empty file in the Maildir; it is only kept where the pause is
//! asked for, because writing at every login wears flash memory out.

use common::config::Config;
use common::maildir::{Maildir, StorageError};
use std::fs::{self, OpenOptions};
use std::time::SystemTime;

const FILE: &str = "tinmail-last-login";

/// Whether the last login was too short a time ago. If not, this one counts as the last from now on.
pub fn too_soon(maildir: &Maildir, config: &Config) -> Result<bool, StorageError> {
    if config.pop3_login_delay.is_zero() {
        return Ok(false);
    }
    let path = maildir.control().join(FILE);
    let last = fs::metadata(&path).and_then(|meta| meta.modified()).ok();
    // A time in the future (a clock that was wrong) does not lock anybody out.
    let since = last.and_then(|last| SystemTime::now().duration_since(last).ok());
    if since.is_some_and(|since| since < config.pop3_login_delay) {
        return Ok(true);
    }
    // A full disk must not keep the user out: then this login is not counted.
    if let Ok(file) = OpenOptions::new().create(true).append(true).open(&path) {
        let _ = file.set_modified(SystemTime::now());
    }
    Ok(false)
}
