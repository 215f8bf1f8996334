//! The sink that is a Maildir.

use super::{Once, Sink, Trace};
use crate::reply;
use crate::status::{Enhanced, Status};
use common::auth::Account;
use common::config::Config;
use common::maildir::{self, ErrorKind, Location, Maildir, StorageError, User};
use std::io;
use std::path::Path;

/// A message on its way into a Maildir.
struct MaildirSink {
    stage: Stage,
    fsync: bool,
    quota_full_tempfail: bool,
}

enum Stage {
    /// There is room. The file is made once the client has been told that the message may come: what it needs is seldom missing, and
    /// the client waits.
    Room { room: maildir::Room, mark: String, lines: String },
    /// There is a file.
    Open(Box<maildir::Delivery>),
    /// There is none, because of this.
    Failed(Status),
}

impl MaildirSink {
    /// A mailbox that is full is refused before the message comes. `lines` will begin the message.
    fn begin(
        config: &Config,
        maildir: Maildir,
        once: Option<&Once>,
        lines: String,
    ) -> Result<MaildirSink, Status> {
        let quota_full_tempfail = config.quota_full_tempfail;
        let room = maildir::Room::of(maildir).map_err(|error| status_of(&error, quota_full_tempfail))?;
        let mark = once.map(|once| once.mark.clone()).unwrap_or_default();
        let stage = Stage::Room { room, mark, lines };
        Ok(MaildirSink { stage, fsync: !config.fsync_disable, quota_full_tempfail })
    }

    /// The file, made if it is not there yet.
    fn delivery(&mut self) -> Result<&mut maildir::Delivery, Status> {
        if let Stage::Room { .. } = self.stage {
            // What there is if making it fails.
            let stage = std::mem::replace(&mut self.stage, Stage::Failed(reply::LOCAL_PROBLEM.into()));
            if let Stage::Room { room, mark, lines } = stage {
                let begun = room.begin(&mark).and_then(|mut delivery| {
                    delivery.write(lines.as_bytes())?;
                    Ok(delivery)
                });
                self.stage = match begun {
                    Ok(delivery) => Stage::Open(Box::new(delivery)),
                    Err(error) => Stage::Failed(status_of(&error, self.quota_full_tempfail)),
                };
            }
        }
        match &mut self.stage {
            Stage::Open(delivery) => Ok(delivery),
            Stage::Failed(status) => Err(status.clone()),
            Stage::Room { .. } => Err(reply::LOCAL_PROBLEM.into()),
        }
    }
}

/// A message that was delivered by a process that could not say so.
struct Delivered(Vec<u8>);

impl Sink for Delivered {
    fn write(&mut self, _: &[u8]) -> Result<(), Status> {
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<String, Status> {
        Ok(String::from_utf8_lossy(&self.0).into_owned())
    }
}

/// A new file in a Maildir, unless the message is there already. `lines` will begin it.
pub(super) fn begin_in(
    config: &Config,
    maildir: Maildir,
    once: Option<&Once>,
    lines: String,
) -> Result<Box<dyn Sink>, Status> {
    if let Some(once) = once.filter(|once| once.again) {
        let found = maildir::Delivery::find(&maildir, &once.mark, !config.fsync_disable);
        if let Some(name) = found.map_err(|error| status_of(&error, config.quota_full_tempfail))? {
            return Ok(Box::new(Delivered(name)));
        }
    }
    Ok(Box::new(MaildirSink::begin(config, maildir, once, lines)?))
}

/// Opens the account's mailbox and makes it if need be; the trace lines will begin the message.
pub(super) fn begin(config: &Config, account: &Account, trace: &Trace) -> Result<Box<dyn Sink>, Status> {
    begin_in(config, open(config, account)?, trace.once.as_ref(), trace.lines())
}

/// `home_mailbox` below the home directory of a system user, or what `mail_location` and the user database say. Users with a
/// domain may have no home of their own: as with Postfix, it is not about them.
fn open(config: &Config, account: &Account) -> Result<Maildir, Status> {
    let failed = |error: StorageError| status_of(&error, config.quota_full_tempfail);
    let setting = match &account.mail {
        None if !config.home_mailbox.is_empty() && !account.name.contains('@') => {
            &format!("maildir:~/{}", config.home_mailbox.trim_end_matches('/'))
        }
        None => config.mail_location.text(),
        Some(mail) => mail,
    };
    let user = User { name: &account.name, home: Path::new(&account.home) };
    let location = Location::parse(setting, user)
        .map_err(|_| Status::new(451, Enhanced(4, 3, 5), "Server configuration problem"))?;
    let location = Location { size_limit: config.mailbox_size_limit.0, ..location };
    Maildir::open_location(&location, !config.fsync_disable).map_err(failed)
}

impl Sink for MaildirSink {
    fn prepare(&mut self) {
        // What goes wrong is said when something is to be written.
        let _ = self.delivery();
    }

    fn write(&mut self, octets: &[u8]) -> Result<(), Status> {
        let quota_full_tempfail = self.quota_full_tempfail;
        self.delivery()?.write(octets).map_err(|error| status_of(&error, quota_full_tempfail))
    }

    fn finish(mut self: Box<Self>) -> Result<String, Status> {
        self.delivery()?;
        let MaildirSink { stage, fsync, quota_full_tempfail } = *self;
        let Stage::Open(delivery) = stage else { return Err(reply::LOCAL_PROBLEM.into()) };
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
        ErrorKind::Full => Status::new(452, Enhanced(4, 3, 1), "Insufficient system storage").because(error),
        _ => Status::new(451, Enhanced(4, 3, 0), "The mailbox cannot be written now").because(error),
    }
}
