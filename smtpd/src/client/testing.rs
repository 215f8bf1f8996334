//! Scripted servers for tests: what the server says is there from the start, or comes octet by octet.

use super::connect::{Useless, Wanted};
use super::stream::Stream;
use super::{Client, Connection, Login, Remote};
use crate::address::Address;
use crate::envelope::{Envelope, Recipient, Target};
use crate::status::Status;
use common::config::Config;
use common::config::keyword::TlsLevel;
use common::sys::fd;
use common::tls::client::Trust;
use std::fs::File;
use std::io::{Read, Write};

pub fn client() -> Client {
    Client::new(&Config { smtp_helo_name: "me.test".into(), ..Config::DEFAULT })
}

/// Lets `act` talk to a server that says these lines whatever happens. What the client said, whole.
pub fn talk(script: &[&str], act: impl FnOnce(Result<Connection, Status>)) -> String {
    let whole = talk_in_pieces(script, usize::MAX, act);
    whole.replace("\r\n", "\n")
}

pub fn talk_in_pieces(script: &[&str], piece: usize, act: impl FnOnce(Result<Connection, Status>)) -> String {
    let (ours, theirs) = fd::socketpair().unwrap();
    let mut server = File::from(theirs);
    let mut reader = server.try_clone().unwrap();
    let said: Vec<u8> = script.iter().flat_map(|line| [line, "\r\n"].concat().into_bytes()).collect();
    // A server that has said everything goes on reading: what it is sent is looked at in the end.
    let writer = std::thread::spawn(move || {
        for octets in said.chunks(piece) {
            if server.write_all(octets).is_err() {
                break;
            }
            if piece < 100 {
                std::thread::yield_now();
            }
        }
        nothing_more(&server);
    });
    let sink = std::thread::spawn(move || {
        let mut heard = Vec::new();
        let _ = reader.read_to_end(&mut heard);
        heard
    });
    let remote = Remote { name: "mx.test".to_owned(), address: None };
    act(open(&client(), Stream::new(ours).unwrap(), remote, None));
    writer.join().unwrap();
    String::from_utf8_lossy(&sink.join().unwrap()).into_owned()
}

/// In clear.
pub fn open(
    client: &Client,
    stream: Stream,
    remote: Remote,
    login: Option<&Login>,
) -> Result<Connection, Status> {
    let wanted = Wanted {
        level: TlsLevel::None,
        wrapped: false,
        trust: Trust::Anyone,
        login,
        patience: std::time::Duration::MAX,
    };
    client.open(stream, remote, &wanted).map_err(|useless| match useless {
        Useless::Unreachable(status) | Useless::NoTls(status) => status,
        Useless::Refused(failed) => failed.status,
        Useless::Ourselves => unreachable!(),
    })
}

pub fn nothing_more(server: &File) {
    use std::os::fd::AsFd;
    fd::shutdown_write(server.as_fd()).unwrap();
}

pub fn address(text: &str) -> Address {
    Address::parse(text.as_bytes()).unwrap()
}

pub fn envelope(recipients: &[&str]) -> Envelope {
    let recipient = |text: &&str| Recipient::new(address(text), Target::Remote(address(text)));
    Envelope {
        reverse_path: Some(address("from@me.test")),
        recipients: recipients.iter().map(recipient).collect(),
        ..Envelope::default()
    }
}
