//! The sink that is a Maildir.

use super::{Sink, Trace};
use crate::status::{Enhanced, Status};
use common::auth::Account;
use common::config::Config;
use common::maildir::{self, ErrorKind, Location, Maildir, StorageError, User};
use std::io;
use std::path::Path;

/// A message on its way into a Maildir.
pub(super) struct MailboxSink {
    delivery: maildir::Delivery,
    fsync: bool,
    quota_full_tempfail: bool,
}

/// Opens the account's mailbox, makes it if need be, and writes the trace lines.
pub(super) fn begin(config: &Config, account: &Account, trace: &Trace) -> Result<Box<dyn Sink>, Status> {
    let failed = |error: StorageError| status_of(&error, config.quota_full_tempfail);
    let maildir = open(config, account)?;
    let delivery = maildir::Delivery::begin(&maildir).map_err(failed)?;
    let mut sink = MailboxSink {
        delivery,
        fsync: !config.fsync_disable,
        quota_full_tempfail: config.quota_full_tempfail,
    };
    sink.write(trace.lines().as_bytes())?;
    Ok(Box::new(sink))
}

/// `home_mailbox` below the home directory, or what `mail_location` and the user database say.
fn open(config: &Config, account: &Account) -> Result<Maildir, Status> {
    let failed = |error: StorageError| status_of(&error, config.quota_full_tempfail);
    if account.mail.is_none() && !config.home_mailbox.is_empty() {
        let location = Location::plain(account.home.join(&*config.home_mailbox));
        return open_limited(location, config).map_err(failed);
    }
    let setting = account.mail.as_deref().unwrap_or(config.mail_location.text());
    let user = User { name: &account.name, home: Path::new(&account.home) };
    let location = Location::parse(setting, user)
        .map_err(|_| Status::new(451, Enhanced(4, 3, 5), "Local configuration error"))?;
    open_limited(location, config).map_err(failed)
}

fn open_limited(location: Location, config: &Config) -> Result<Maildir, StorageError> {
    Maildir::open_location(&Location { size_limit: config.mailbox_size_limit.0, ..location })
}

impl Sink for MailboxSink {
    fn write(&mut self, octets: &[u8]) -> Result<(), Status> {
        self.delivery.write(octets).map_err(|error| status_of(&error, self.quota_full_tempfail))
    }

    fn finish(self: Box<Self>) -> Result<String, Status> {
        let MailboxSink { delivery, fsync, quota_full_tempfail } = *self;
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
