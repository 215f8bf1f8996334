//! The sink that is a Maildir.

use super::{Sink, Trace};
use crate::status::{Enhanced, Status};
use common::auth::Account;
use common::config::Config;
use common::maildir::{self, ErrorKind, Location, Maildir, StorageError, User};
use std::io;
use std::path::Path;

/// A message on its way into a Maildir.
pub(super) struct MaildirSink {
    delivery: maildir::Delivery,
    fsync: bool,
    quota_full_tempfail: bool,
}

impl MaildirSink {
    /// A new file, if there is room for one.
    pub(super) fn begin(config: &Config, maildir: &Maildir) -> Result<MaildirSink, Status> {
        let quota_full_tempfail = config.quota_full_tempfail;
        let failed = |error: StorageError| status_of(&error, quota_full_tempfail);
        // One that is full is refused before the message comes.
        maildir::Delivery::has_room(maildir, 1).map_err(failed)?;
        let delivery = maildir::Delivery::begin(maildir).map_err(failed)?;
        Ok(MaildirSink { delivery, fsync: !config.fsync_disable, quota_full_tempfail })
    }
}

/// Opens the account's mailbox, makes it if need be, and writes the trace lines.
pub(super) fn begin(config: &Config, account: &Account, trace: &Trace) -> Result<Box<dyn Sink>, Status> {
    let mut sink = MaildirSink::begin(config, &open(config, account)?)?;
    sink.write(trace.lines().as_bytes())?;
    Ok(Box::new(sink))
}

/// `home_mailbox` below the home directory, or what `mail_location` and the user database say.
fn open(config: &Config, account: &Account) -> Result<Maildir, Status> {
    let failed = |error: StorageError| status_of(&error, config.quota_full_tempfail);
    let setting = match &account.mail {
        None if !config.home_mailbox.is_empty() => {
            &format!("maildir:~/{}", config.home_mailbox.trim_end_matches('/'))
        }
        None => config.mail_location.text(),
        Some(mail) => mail,
    };
    let user = User { name: &account.name, home: Path::new(&account.home) };
    let location = Location::parse(setting, user)
        .map_err(|_| Status::new(451, Enhanced(4, 3, 5), "Server configuration problem"))?;
    let location = Location { size_limit: config.mailbox_size_limit.0, ..location };
    Maildir::open_location(&location).map_err(failed)
}

impl Sink for MaildirSink {
    fn write(&mut self, octets: &[u8]) -> Result<(), Status> {
        self.delivery.write(octets).map_err(|error| status_of(&error, self.quota_full_tempfail))
    }

    fn finish(self: Box<Self>) -> Result<String, Status> {
        let MaildirSink { delivery, fsync, quota_full_tempfail } = *self;
        let name = delivery.finish(fsync).map_err(|error| status_of(&error, quota_full_tempfail))?;
        Ok(String::from_utf8_lossy(&name).into_owned())
    }
}

/// What the sender is told. The text names no path: that is for the log.
pub(super) fn status_of(error: &StorageError, quota_full_tempfail: bool) -> Status {
    let over_quota = error.source.kind() == io::ErrorKind::QuotaExceeded;
    match error.kind {
        _ if over_quota && quota_full_tempfail => Status::new(452, Enhanced(4, 2, 2), "The mailbox is full"),
        _ if over_quota => Status::new(552, Enhanced(5, 2, 2), "The mailbox is full"),
        ErrorKind::Full => Status::new(452, Enhanced(4, 3, 1), "Insufficient system storage"),
        _ => Status::new(451, Enhanced(4, 3, 0), "The mailbox cannot be written now"),
    }
}
