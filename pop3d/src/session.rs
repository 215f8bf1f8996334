//! From the login to the end: opens and locks the maildrop, speaks, and on QUIT updates.

use crate::authorization::last_words;
use crate::locks::Locks;
use crate::maildrop::Maildrop;
use crate::summary::Summary;
use crate::transaction::{self, Transaction};
use crate::uidl::UniqueIds;
use crate::{login_delay, reply};
use common::io::{Ending, Heartbeat};
use common::maildir::{
    CLEAN_TMP_EVERY, ErrorKind, HEARTBEAT, Location, LockMethod, Maildir, Options, SessionLock, Snapshot,
    StorageError, User, clean_tmp, uidlist_file,
};
use common::process::session::Session;
use std::rc::Rc;

/// The conversation after the login.
pub fn serve(session: &mut Session) -> Ending {
    let mut summary = Summary::default();
    let ending = match open(session) {
        Ok(maildrop) => converse(session, maildrop, &mut summary),
        Err(words) => {
            let _ = session.conn.push_line(words);
            session.log.info("Disconnected: The maildrop could not be opened");
            return Ending::Quit;
        }
    };
    // After a failure there may be half an answer on the wire, which another one must not seem to complete.
    if !matches!(ending, Ending::Quit | Ending::Failed(_)) {
        last_words(&mut session.conn, &ending);
    }
    let _ = session.conn.flush();
    let (received, sent) = session.conn.counts();
    let figures = summary.print(session.config.pop3_logout_format.as_str(), received, sent);
    session.log.info(&format!("Disconnected: {ending} {figures}"));
    ending
}

fn open(session: &mut Session) -> Result<Maildrop, &'static str> {
    try_open(session).unwrap_or_else(|error| {
        session.log.error(&error.to_string());
        Err(match error.kind {
            ErrorKind::InUse => reply::IN_USE,
            ErrorKind::NoPerm => reply::MAILDROP_DENIED,
            _ => reply::MAILDROP_BROKEN,
        })
    })
}

fn try_open(session: &mut Session) -> Result<Result<Maildrop, &'static str>, StorageError> {
    let config = &session.config;
    let user = User { name: &session.user, home: &session.home };
    let location = match Location::parse(&session.mail_location, user) {
        Ok(location) => location,
        Err(error) => {
            session.log.error(&error.0);
            return Ok(Err(reply::MAILDROP_DENIED));
        }
    };
    let maildir = Maildir::open_location(&location, !config.fsync_disable)?;
    let lock = SessionLock::take(&maildir, LockMethod::Automatic)?;
    if login_delay::too_soon(&maildir, config)? {
        return Ok(Err(reply::LOGIN_DELAY));
    }
    // Leftovers are nobody's mail: that they stay does not matter now.
    let _ = clean_tmp(&maildir, CLEAN_TMP_EVERY);
    let ids = UniqueIds::new(config, 0);
    let default = |uid_validity: u32, uid: u32, base: &[u8]| ids.default_of(uid_validity, uid, base);
    let fsync = !config.fsync_disable;
    // A login need not wait for sizes that may never be asked for.
    let options =
        Options { fsync, count_octets: false, default_unique_id: Some(&default), ..Options::default() };
    let snapshot = Snapshot::open(&maildir, &options)?;
    if let Some(why) = snapshot.incomplete() {
        session.log.error(&format!("new messages are hidden, because their UIDs cannot be recorded: {why}"));
    }
    let uidlist_lock = match config.pop3_lock_session {
        true => Some(uidlist_file::lock(maildir.control(), options.lock_timeout)?),
        false => None,
    };
    let locks = Rc::new(Locks::new(lock, uidlist_lock));
    if locks.need_heartbeat() {
        let beating = locks.clone();
        let beat = Box::new(move || beating.beat());
        session.conn.set_heartbeat(Heartbeat { every: HEARTBEAT, beat });
    }
    Ok(Ok(Maildrop::new(maildir, snapshot, fsync, locks)))
}

fn converse(session: &mut Session, maildrop: Maildrop, summary: &mut Summary) -> Ending {
    summary.maildrop(&maildrop);
    session.status("reading mail");
    if let Err(ending) = session.conn.push_line(reply::LOGGED_IN) {
        return ending;
    }
    let transaction = Transaction {
        conn: &mut session.conn,
        config: &session.config,
        log: &session.log,
        summary,
        // What the front says is not trusted to be anything, but it has no reason to count too low.
        bad_commands: session.state.as_slice().try_into().map_or(0, u32::from_be_bytes),
    };
    let update = match transaction::speak(transaction, maildrop) {
        Ok(update) => update,
        Err(ending) => return ending,
    };
    session.status("deleting");
    summary.maildrop(update.maildrop());
    let octets = update.maildrop().deleted_octets();
    let updated = update.carry_out(&session.config, &session.log);
    summary.deleted(updated.deleted, octets);
    // RFC 1939 section 6: the locks, of which this is the last holder, are released before the answer, so that the next
    // session can start at once.
    session.conn.stop_heartbeat();
    let words = match (updated.failed, updated.deleted) {
        (true, _) => reply::NOT_ALL_DELETED,
        (false, 0) => reply::GOODBYE,
        (false, _) => reply::GOODBYE_DELETED,
    };
    match session.conn.push_line(words) {
        Ok(()) => Ending::Quit,
        Err(ending) => ending,
    }
}
